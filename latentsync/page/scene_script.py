"""What the editor of a scene does in the browser: it moves segments, brings files, and says what has changed.

What is shown is the truth: every change sends all fields, and the server answers with the whole editor anew, but for a
segment that was moved, whose fields the browser has set itself.
"""

from __future__ import annotations

# With Gradio's own names: ``element``, ``trigger``, ``upload``, ``watch``.
EDITOR = """
const all = (what, within = element) => [...within.querySelectorAll(what)];
const fields = (part) => Object.fromEntries(all("[name]", part).map((field) => [field.name, field.value]));
const scene = () => element.querySelector(".scene");
const send = (more = {}) => {
  trigger("apply", {people: all(".person").map(fields), segments: all(".segment").map(fields), ...more});
};
let held = "", drag = null, later = 0;
document.addEventListener("focusin", ({target}) => { held = element.contains(target) ? target.id : ""; });
watch("value", () => held && document.getElementById(held)?.focus());

const field = (bar, name) => all(".segment")[bar.dataset.segment].querySelector(`[name="${name}"]`);
const number = (input) => Number(input?.value || 0);
const limits = () => [Number(scene().dataset.seconds), Number(scene().dataset.fps)];
const times = (bar) => [number(field(bar, "start")), Number(field(bar, "end").value || limits()[0])];

function put(bar, start, end, from) {  // on whole frames, inside the video
  const [seconds, fps] = limits(), snap = (time) => Math.round(time * fps) / fps;
  field(bar, "start").value = +snap(start).toFixed(3);
  field(bar, "end").value = +snap(end).toFixed(3);
  if (from !== undefined && field(bar, "from")) field(bar, "from").value = +from.toFixed(3);
  bar.style.left = `${100 * snap(start) / seconds}%`;
  bar.style.width = `${100 * (snap(end) - snap(start)) / seconds}%`;
}
function change(bar, edge, by, [start, end] = times(bar), from = number(field(bar, "from"))) {
  const [seconds, fps] = limits(), within = (time, least, most) => Math.min(Math.max(time, least), most);
  if (edge === "end") put(bar, start, within(end + by, start + 1 / fps, seconds));
  else if (edge === "start") {  // what is said stays at its place: the audio begins as much later
    const begin = within(start + by, Math.max(0, field(bar, "from") ? start - from : 0), end - 1 / fps);
    put(bar, begin, end, from + Math.round((begin - start) * fps) / fps);
  } else {
    const begin = within(start + by, 0, seconds - (end - start));
    put(bar, begin, begin + end - start);
  }
}

element.addEventListener("pointerdown", (event) => {
  const bar = event.target.closest(".bar"), lane = event.target.closest(".lane");
  if (!lane || event.button) return;
  const width = lane.getBoundingClientRect();
  if (!bar) return send({moment: (event.clientX - width.left) / width.width * limits()[0], quiet: true});
  drag = {bar, edge: event.target.dataset.edge, x: event.clientX, width: width.width, was: times(bar),
          from: number(field(bar, "from")), moved: false};
  bar.setPointerCapture(event.pointerId);
});
element.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const by = (event.clientX - drag.x) / drag.width * limits()[0];
  drag.moved ||= Math.abs(event.clientX - drag.x) > 2;
  if (drag.moved) change(drag.bar, drag.edge, by, drag.was, drag.from);
});
for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => {
  if (drag?.moved) send({quiet: true});
  drag = null;
});
element.addEventListener("keydown", (event) => {
  const bar = event.target.closest(".bar"), step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (!bar || !(step || event.key === "Delete")) return;
  event.preventDefault();
  if (!step) return remove(bar);
  change(bar, event.shiftKey ? "end" : "", step / limits()[1]);
  clearTimeout(later);
  later = setTimeout(() => send({quiet: true}), 500);
});

function remove(part) {
  all(".segment")[part.dataset.segment].remove();
  send();
}
async function bring(files, more, said) {
  if (said) said.textContent = "Bringing it …";
  for (const file of files) {
    try {
      const {path} = await upload(file);
      if (more.open !== undefined) return send({open: path});
      const hidden = document.createElement("div");  // until the server has given it a time
      hidden.className = "segment", hidden.hidden = true;
      for (const [name, value] of Object.entries({person: more.person, file: path, new: "1"})) {
        hidden.append(Object.assign(document.createElement("input"), {name, value}));
      }
      element.querySelector(".segments").append(hidden);
    } catch (error) {
      if (said) said.textContent = String(error.message ?? error);
      return;
    }
  }
  send();
}
element.addEventListener("change", ({target}) => {
  if (target.type === "file") bring([...target.files], target.dataset, target.closest(".bring").querySelector("span"));
  else if (target.name) send();
});
element.addEventListener("click", ({target}) => target.matches(".remove") && remove(target));
element.addEventListener("dragover", (event) => event.target.closest(".person") && event.preventDefault());
element.addEventListener("drop", (event) => {
  const row = event.target.closest(".person");
  if (!row || !event.dataTransfer.files.length) return;
  event.preventDefault();
  bring([...event.dataTransfer.files], row.querySelector("input[type=file]").dataset, row.querySelector(".bring span"));
});
"""

CSS = """
.scene .cast { list-style: none; margin: 0; padding: 0; display: grid; gap: 10px; }
.scene .person { display: grid; grid-template-columns: 56px 1fr; gap: 6px 12px; align-items: center; margin: 0; }
.scene .person img, .scene .faceless { width: 56px; height: 56px; border-radius: var(--radius-md); object-fit: cover; }
.scene .faceless { display: grid; place-content: center; background: var(--border-color-primary); }
.scene .who { display: flex; flex-wrap: wrap; gap: 6px; min-width: 0; }
.scene :is(input, select) { font: inherit; font-size: var(--text-sm); color: var(--body-text-color); padding: 5px 8px;
  border: 1px solid var(--border-color-primary); border-radius: var(--radius-sm); min-height: 34px;
  background: var(--input-background-fill); }
.scene .who > :is(input[name="name"], select) { flex: 1 1 90px; width: 110px; min-width: 0; }
.scene .bring { flex: 3 1 200px; display: grid; place-content: center; min-height: 34px; padding: 2px 10px;
  border: 1px dashed var(--color-accent); border-radius: var(--radius-sm); font-size: var(--text-sm);
  text-align: center; cursor: pointer; color: var(--body-text-color); overflow-wrap: anywhere; }
.scene .bring:hover { background: var(--background-fill-secondary); }
.scene .bring input { position: absolute; width: 1px; height: 1px; min-height: 0; padding: 0; opacity: 0; }
.scene .bring:focus-within, .scene :is(input, select, button, summary):focus-visible, .account a:focus-visible {
  outline: 2px solid var(--color-accent); outline-offset: 1px; }
.scene .open { display: inline-grid; margin-top: 10px; border-style: solid;
  border-color: var(--border-color-primary); }
.scene .lane { grid-column: 1 / -1; position: relative; height: 40px; border-radius: var(--radius-sm); overflow: hidden;
  background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary); cursor: crosshair; }
.scene .seen { position: absolute; bottom: 0; height: 6px; background: var(--neutral-400); pointer-events: none; }
.scene .bar { position: absolute; top: 2px; height: 28px; min-width: 10px; padding: 0; border: 0; cursor: grab;
  border-radius: var(--radius-sm); background: var(--primary-700); color: white; touch-action: none; display: flex;
  align-items: center; overflow: hidden; }
.scene .bar span { flex: 1; padding: 0 2px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
  font-size: var(--text-xs); font-weight: 400; color: white; pointer-events: none; }
.scene .bar i { flex: none; width: 10px; height: 100%; cursor: ew-resize; background: rgb(255 255 255 / 35%); }
.scene .bar:focus-visible { outline-offset: -2px; outline-color: white; }
.scene .clock { position: relative; height: 18px; font-size: var(--text-xs); color: var(--body-text-color-subdued); }
.scene .clock span { position: absolute; } .scene .clock span + span { transform: translateX(-50%); }
.scene .clock span:last-child:not(:only-child) { transform: translateX(-100%); }
.scene .segment { display: flex; flex-wrap: wrap; gap: 6px 10px; align-items: end; margin: 8px 0 0;
  padding: 6px 10px 10px; border: 1px solid var(--border-color-primary); border-radius: var(--radius-md);
  min-width: 0; }
.scene .segment[hidden] { display: none; }
.scene legend { font-size: var(--text-sm); padding: 0 4px; overflow-wrap: anywhere; }
.scene .segment label { display: grid; font-size: var(--text-xs); color: var(--body-text-color-subdued); flex: 1 1 84px;
  min-width: 0; }
.scene .segment label :is(input, select) { width: 100%; min-width: 0; }
.scene details { flex: 1 1 100%; order: 1; } .scene details[open] { display: grid; gap: 6px 10px;
  grid-template-columns: repeat(auto-fill, minmax(120px, 1fr)); } .scene summary { grid-column: 1 / -1; cursor: pointer;
  font-size: var(--text-sm); }
.scene .remove { min-height: 34px; padding: 0 10px; border: 1px solid var(--border-color-primary);
  border-radius: var(--radius-sm); background: var(--button-secondary-background-fill); font-size: var(--text-sm);
  color: var(--body-text-color); }
#scene, #scene-account { padding: 0; } #scene > *, #scene-account > * { padding: 0; }
.account .said { margin: 0 0 4px; font-size: var(--text-sm); } .account .wrong { color: var(--error-text-color); }
.account a { font-size: var(--text-sm); margin: 0 !important; padding: 0 !important; color: var(--link-text-color);
  text-decoration: underline; }
"""
