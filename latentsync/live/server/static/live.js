// The page: a microphone in, a face out. The sound card's clock says when a frame is shown, so that it stays with its
// audio however long it takes: both are delayed by `delay` seconds, which grows where frames come later.
const $ = (id) => document.getElementById(id);
const MOST_DELAY = 1.5;
let stop = null;

const facts = await (await fetch("people")).json();
for (const name of facts.people) $("person").append(new Option(name, name));
$("key-label").hidden = !facts.key;
$("transport").options[1].disabled = !facts.webrtc;
showStill();
$("person").onchange = showStill;
$("choices").onsubmit = async (event) => {
  event.preventDefault();
  if (stop) return stop("Stopped.");
  try {
    await ($("transport").value === "webrtc" ? call() : stream());
  } catch (error) {
    say(error.name === "NotAllowedError" ? "The microphone was not allowed." : error.message, true);
  }
};

function say(text, fault = false) {
  $("state").textContent = text;
  $("state").className = fault ? "fault" : "";
}

function showFigures(figures) {
  const rows = Object.entries(figures).filter(([name]) => name !== "type");
  $("figures").replaceChildren(...rows.map(([name, value]) => {
    const row = document.createElement("tr");
    for (const text of [name.replaceAll("_", " "), Number.isInteger(value) ? value : value.toFixed(3)]) {
      row.insertCell().textContent = text;
    }
    return row;
  }));
}

function draw(image) {
  const canvas = $("face");
  if (canvas.width !== image.width || canvas.height !== image.height) {
    canvas.width = image.width;
    canvas.height = image.height;
  }
  canvas.getContext("2d").drawImage(image, 0, 0);
}

async function showStill() {
  const answer = await fetch(`people/${encodeURIComponent($("person").value)}.jpg`);
  if (answer.ok) draw(await createImageBitmap(await answer.blob()));
}

function microphone() {
  return navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, channelCount: 1 } });
}

function running(end) {
  $("start").textContent = "Stop";
  stop = (text, fault) => {
    stop = null;
    $("start").textContent = "Start";
    say(text, fault);
    end();
  };
}

async function stream() {
  const media = await microphone();
  const context = new AudioContext();
  await context.audioWorklet.addModule("microphone.js");
  const source = context.createMediaStreamSource(media);
  const worklet = new AudioWorkletNode(context, "microphone", { numberOfOutputs: 0 });
  const later = new DelayNode(context, { maxDelayTime: 2 * MOST_DELAY });
  const loudness = new GainNode(context, { gain: $("hear").checked ? 1 : 0 });
  source.connect(worklet);
  source.connect(later).connect(loudness).connect(context.destination);
  $("hear").onchange = () => { loudness.gain.value = $("hear").checked ? 1 : 0; };

  const socket = new WebSocket(new URL("live", location.href.replace(/^http/, "ws")));
  socket.binaryType = "arraybuffer";
  let first = null, delay = 0, shown = 0, skipped = 0, late = 0, begun = false, figures = {};
  const waiting = [];
  running(() => {
    socket.close();
    media.getTracks().forEach((track) => track.stop());
    context.close();
  });
  say("Connecting ...");
  socket.onopen = () => socket.send(JSON.stringify(
    { person: $("person").value, rate: context.sampleRate, key: $("key").value }));
  socket.onclose = () => stop?.("The server has ended the stream.", true);
  worklet.port.onmessage = ({ data }) => {
    if (!begun || socket.readyState !== WebSocket.OPEN) return;
    first ??= data.first;
    const message = new ArrayBuffer(8 + data.samples.byteLength);
    new DataView(message).setBigUint64(0, BigInt(data.first - first), true);
    new Int16Array(message, 8).set(data.samples);
    socket.send(message);
  };
  const postpone = (seconds) => {
    delay = Math.min(MOST_DELAY, seconds);
    later.delayTime.setTargetAtTime(delay, context.currentTime, 0.05);
  };
  socket.onmessage = async ({ data }) => {
    if (typeof data === "string") {
      const message = JSON.parse(data);
      if (message.type === "error") stop?.(message.message, true);
      if (message.type === "begin") {
        begun = true;
        postpone(message.delay);
        say("Speak.");
      }
      if (message.type === "statistics") figures = message;
      return;
    }
    const time = new DataView(data).getFloat64(0, true);
    const image = await createImageBitmap(new Blob([new Uint8Array(data, 8)], { type: "image/jpeg" }));
    const behind = context.currentTime - (first / context.sampleRate + time + delay);
    if (behind > 0) {
      late++;
      postpone(delay + behind);
    }
    waiting.push({ time, image });
    waiting.sort((a, b) => a.time - b.time);
  };
  const show = () => {
    if (context.state === "closed") return;
    const now = context.currentTime - (first ?? 0) / context.sampleRate - delay;
    let frame = null;
    while (waiting.length && waiting[0].time <= now) {
      skipped += frame ? 1 : 0;
      frame?.image.close();
      frame = waiting.shift();
    }
    if (frame) {
      draw(frame.image);
      frame.image.close();
      shown++;
      const own = { "frames shown": shown, "frames skipped": skipped, "frames that came late": late, delay,
        "image behind its time": now - frame.time };
      showFigures({ ...figures, ...own });
      window.live = { ...figures, shown, skipped, late, delay, offset: now - frame.time, time: frame.time };
    }
    requestAnimationFrame(show);
  };
  show();
}

async function call() {
  const media = await microphone();
  const peer = new RTCPeerConnection();
  running(() => {
    peer.close();
    media.getTracks().forEach((track) => track.stop());
    $("call").hidden = true;
    $("face").hidden = false;
  });
  say("Connecting ...");
  for (const track of media.getAudioTracks()) peer.addTrack(track, media);
  peer.addTransceiver("video", { direction: "recvonly" });
  const both = new MediaStream();
  peer.ontrack = ({ track }) => {
    both.addTrack(track);
    $("call").srcObject = both;
    $("call").muted = !$("hear").checked;
    $("call").hidden = false;
    $("face").hidden = true;
    say("Speak.");
  };
  $("hear").onchange = () => { $("call").muted = !$("hear").checked; };
  peer.onconnectionstatechange = () => {
    if (["failed", "disconnected"].includes(peer.connectionState)) stop?.("The call has ended.", true);
  };
  await peer.setLocalDescription(await peer.createOffer());
  await new Promise((resolve) => {
    if (peer.iceGatheringState === "complete") resolve();
    peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && resolve();
  });
  const answer = await fetch("offer", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...peer.localDescription.toJSON(), person: $("person").value, key: $("key").value }),
  });
  const description = await answer.json();
  if (!answer.ok) return stop?.(description.message, true);
  await peer.setRemoteDescription(description);
}
