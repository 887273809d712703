"""What the page does in the browser: it remembers its job, misses no answer, notices a lost connection, and plays two
videos at once."""

from __future__ import annotations

import json

from latentsync.page import wording

BEAT_SECONDS = 15  # between two signs of life of a running job
STALE_SECONDS = 45  # without one, after which the connection counts as lost

# The name of the job stands behind the # of the address, which no browser sends to a server, and in the browser's
# storage. A page that hears nothing of a running job while the server answers is loaded again: a phone that has slept
# holds connections that nobody told it are gone. Gradio itself does so where it learns that a connection has broken.
#
# Gradio's answers come in a stream that the server ends when nothing more is asked for. Its client takes a stream for
# open until it has read that end, and opens no other for what it asks meanwhile, whose answer it then never sees (over
# a slow network: what is uploaded in the first second). So the receipt of what was asked is handed to it only when the
# open stream has said a word of it, or has ended.
_HEAD = """
<script>
(() => {
  const key = "latentsync-job";
  const storage = (work) => {  // a browser may forbid it; then the address alone knows the job
    try { return work(localStorage); } catch { return null; }
  };
  const inAddress = () => /^#job=([\\w-]+)$/.exec(location.hash)?.[1] ?? "";
  const keep = (name) => {
    if (name === inAddress()) return;
    storage((items) => items.setItem(key, name));
    history.replaceState(history.state, "", name ? `#job=${name}` : location.pathname + location.search);
  };
  const remembered = () => storage((items) => items.getItem(key)) ?? "";
  window.latentsync = {job: () => inAddress() ? [inAddress(), false] : [remembered(), true]};
  addEventListener("hashchange", () => location.reload());

  const plainFetch = window.fetch, streams = new Set(), spokenOf = new Set();
  let receipts = [];
  const handOver = () => {
    const [ready, kept] = [[], []];
    for (const receipt of receipts) (!streams.size || spokenOf.has(receipt.id) ? ready : kept).push(receipt);
    receipts = kept;
    ready.forEach(({give}) => give());
  };
  const opened = () => {  // gives what to call when the stream has ended, however often
    const open = {};
    streams.add(open);
    return () => setTimeout(() => { streams.delete(open); handOver(); }, 100);  // Gradio has read the last message then
  };
  const followed = (stream, ended) => {
    const reader = stream.body.getReader(), decoder = new TextDecoder();
    let text = "";
    const pull = async (controller) => {
      const {done, value} = await reader.read().catch((error) => { ended(); throw error; });
      if (done) {
        ended();
        controller.close();
        return;
      }
      text = text.slice(-100) + decoder.decode(value, {stream: true});
      for (const [, id] of text.matchAll(/"event_id":"([^"]+)"/g)) spokenOf.add(id);
      controller.enqueue(value);
      handOver();
    };
    const cancel = (reason) => { ended(); return reader.cancel(reason); };
    return new Response(new ReadableStream({pull, cancel}), stream);
  };
  const timely = async (answer) => {
    const id = answer.ok && (await answer.clone().json()).event_id;
    if (id) await new Promise((give) => {
      receipts.push({id, give});
      handOver();
      setTimeout(give, 5000);  // a stream that Gradio has left unread tells nobody of its end
    });
    return answer;
  };
  window.fetch = async (...request) => {
    const path = new URL(request[0].url ?? request[0], location).pathname;
    if (path.endsWith("/queue/join")) return timely(await plainFetch(...request));
    if (!path.endsWith("/queue/data")) return plainFetch(...request);
    const ended = opened();
    request[1]?.signal?.addEventListener("abort", ended);
    const stream = await plainFetch(...request).catch((error) => { ended(); throw error; });
    if (stream.ok) return followed(stream, ended);
    ended();
    return stream;
  };

  const sayWhereItIs = () => {  // nothing works where the page does not know its own address
    const known = new URL(window.gradio_config.root).pathname.replace(/\\/?$/, "/");
    if (known !== location.pathname) document.body.prepend(ELSEWHERE.replaceAll("PATH", location.pathname));
  };

  const unplayable = (video, is) => {
    const player = video.closest("#video, #source, #result");
    if (is) player?.setAttribute("data-unplayable", UNPLAYABLE[player.id]);
    else player?.removeAttribute("data-unplayable");
  };
  const again = (video) => setTimeout(() => video.isConnected && video.load(), 2000);
  addEventListener("error", (event) => {  // before Gradio, which would call it an error of the page
    const video = event.target;
    if (!(video instanceof HTMLVideoElement)) return;
    event.stopImmediatePropagation();
    if (!video.src.startsWith("http")) unplayable(video, true);
    else fetch(video.src, {method: "HEAD"}).then(() => unplayable(video, true), () => again(video));  // no network
  }, true);
  addEventListener("loadedmetadata", ({target}) => {  // some browsers play what they can, the audio alone
    if (target instanceof HTMLVideoElement) unplayable(target, !target.videoWidth);
  }, true);

  let said = "", heard = 0, silences = 0;
  new MutationObserver(() => {
    const status = document.querySelector(".status");
    if (!status || status.outerHTML === said) return;
    if (!said) sayWhereItIs();
    [said, heard] = [status.outerHTML, Date.now()];
    if (status.dataset.job !== undefined) keep(status.dataset.job);
  }).observe(document, {subtree: true, childList: true});
  setInterval(() => {  // twice, since a page that wakes up has yet to look at what has come meanwhile
    const silent = document.querySelector(".status.running") && Date.now() - heard > 1000 * STALE;
    silences = silent ? silences + 1 : 0;
    if (silences < 2) return;
    fetch("gradio_api/app_id", {cache: "no-store", signal: AbortSignal.timeout(1000 * STALE)})
      .then((answer) => answer.ok && location.reload(), () => {});  // else later: there may be no network yet
  }, 1000 * STALE / 10);
})();
</script>
"""


def head() -> str:
    """What the page begins with, in HTML."""
    values = {"STALE": STALE_SECONDS, "UNPLAYABLE": wording.UNPLAYABLE, "ELSEWHERE": wording.ELSEWHERE}
    text = _HEAD
    for name, value in values.items():
        text = text.replace(name, json.dumps(value))
    return text


# [name of the job, whether the browser remembered it], for ``Handlers.come_back``.
FIND_JOB = "() => window.latentsync.job()"

# Another file was brought: what was said of the last no longer holds. In the browser, so that nothing newer is lost.
FORGET_FAILURE = f"""
(shown) => shown.includes('class="status failed"') ? {json.dumps(wording.status(wording.IDLE, kind="idle"))} : shown
"""

# Both players from the start, the source without its audio; a preview is set against the second that it shows.
PLAY_BOTH = """
() => {
  const [source, result] = ["source", "result"].map((id) => document.querySelector(`#${id} video`));
  if (!source || !result) return;
  source.currentTime = Number(document.querySelector(".status")?.dataset.start ?? 0);
  result.currentTime = 0;
  source.muted = true;
  source.play().catch(() => {});  // a source that this browser does not play
  result.play();
}
"""
