// The reading page: shows blinded images, keeps the answers in the browser, and exports them.
"use strict";

const study = JSON.parse(document.getElementById("study").textContent);
const $ = (id) => document.getElementById(id);
const canvases = [...document.querySelectorAll(".stage canvas")];
const groups = [...document.querySelectorAll("fieldset")];
const KEY_VALUES = study.pairs
  ? { ArrowLeft: 1, 0: 0, ArrowRight: -1 }
  : { 1: 1, 2: 2, 3: 3, 4: 4, 5: 5 };

let reader = 1;
let order = [];
let position = 0;
let active = 0; // number of the criterion that the keys answer
let answers = new Map(); // "position criterion" -> value
let sprites = [];
let frame = 0;
let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
let shownAt = 0;

// --- Answers, kept in the browser -------------------------------------------------------------

const storageKey = () => `cmrrecon-reading-${study.study}-${reader}`;

function rows() {
  const found = [...answers].map(([name, value]) => [...name.split(" ").map(Number), value]);
  return found.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
}

function save() {
  try {
    localStorage.setItem(storageKey(), JSON.stringify(rows()));
  } catch {
    say("This browser cannot keep the answers. Export them before you close the page.");
  }
}

function load() {
  let stored = [];
  try {
    stored = JSON.parse(localStorage.getItem(storageKey())) || [];
  } catch {
    say("This browser cannot keep the answers. Export them before you close the page.");
  }
  answers = new Map(stored.map(([place, criterion, value]) => [`${place} ${criterion}`, value]));
}

const answered = (place, criterion) => answers.has(`${place} ${criterion}`);
const firstOpen = (place) => groups.findIndex((_, criterion) => !answered(place, criterion));
const missing = () => order.length * groups.length - answers.size;

function answer(criterion, value) {
  answers.set(`${position} ${criterion}`, value);
  save();
  const open = firstOpen(position);
  active = open < 0 ? criterion : open;
  showAnswers();
}

function exportAnswers() {
  const given = rows();
  const digest = sha256(JSON.stringify([study.study, reader, given]));
  const content = { schema: study.schema, kind: study.kind, study: study.study, reader };
  const text = JSON.stringify({ ...content, answers: given, digest });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `reading-${study.study}-reader${reader}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// --- What is shown -----------------------------------------------------------------------------

function show(name) {
  for (const section of ["start", "reading", "end"]) $(section).hidden = section !== name;
}

function say(text) {
  $("message").textContent = text;
  $("message").hidden = false;
}

const pictureOf = (number) => {
  const picture = new Image();
  picture.src = study.images[number].png;
  return picture;
};

function present(place) {
  position = place;
  active = Math.max(firstOpen(place), 0);
  const numbers = order[place];
  const facts = numbers.map((number) => study.images[number]);
  const [height, width] = facts[0].size;
  const ratio = width / (height * facts[0].aspect);

  sprites = numbers.map(pictureOf);
  canvases.forEach((canvas) => {
    canvas.width = width;
    canvas.height = height;
    canvas.style.aspectRatio = ratio;
    canvas.style.width = `min(${canvases.length > 1 ? "38vw" : "76vw"}, ${55 * ratio}vh)`;
  });
  setFrame(0);
  Promise.all(sprites.map((sprite) => sprite.decode())).then(() => {
    if (position === place) draw();
  });

  $("reading").dataset.position = place;
  $("movie").hidden = facts[0].frames < 2;
  $("frame").max = facts[0].frames;
  $("progress").max = order.length;
  $("progress").value = place + 1;
  $("place").textContent = `${place + 1} of ${order.length}, reader ${reader}`;
  $("previous").disabled = place === 0;
  show("reading");
  showAnswers();
}

function showAnswers() {
  groups.forEach((group, criterion) => {
    group.classList.toggle("active", criterion === active);
    const value = answers.get(`${position} ${criterion}`);
    group.querySelectorAll("input").forEach((input) => {
      input.checked = Number(input.value) === value;
    });
  });
}

function draw() {
  order[position].forEach((number, side) => {
    const { columns, size } = study.images[number];
    const [height, width] = size;
    const x = (frame % columns) * width;
    const y = Math.floor(frame / columns) * height;
    const context = canvases[side].getContext("2d");
    context.drawImage(sprites[side], x, y, width, height, 0, 0, width, height);
  });
}

function setFrame(number) {
  const { frames } = study.images[order[position][0]];
  frame = (number + frames) % frames;
  $("frame").value = frame + 1;
  $("shown").textContent = `${frame + 1} of ${frames}`;
  if (sprites.every((sprite) => sprite.complete)) draw();
}

function setPlaying(value) {
  playing = value;
  $("play").textContent = playing ? "Pause" : "Play";
}

function tick(now) {
  if (playing && !$("reading").hidden) {
    const facts = study.images[order[position][0]];
    const steps = Math.floor((now - shownAt) / facts.ms);
    if (steps > 0 && facts.frames > 1) setFrame(frame + 1);
    if (steps > 0) shownAt = now;
  }
  requestAnimationFrame(tick);
}

// --- Moving about ------------------------------------------------------------------------------

function begin() {
  reader = Number($("reader").value);
  order = study.orders[reader - 1];
  load();
  resume();
}

function resume() {
  const open = order.findIndex((_, place) => firstOpen(place) >= 0);
  if (open < 0) finish();
  else present(open);
}

function finish() {
  const count = missing();
  const total = order.length * groups.length;
  $("left").textContent =
    count === 0
      ? `Reader ${reader}: all ${total} questions are answered. Thank you.`
      : `Reader ${reader}: ${count} of ${total} questions are not answered yet.`;
  $("resume").hidden = count === 0;
  show("end");
  $("export").focus();
}

function next() {
  if (position + 1 < order.length) present(position + 1);
  else finish();
}

function previous() {
  if (position > 0) present(position - 1);
}

function step(by) {
  setPlaying(false);
  setFrame(frame + by);
}

const ACTIONS = {
  Enter: next,
  Backspace: previous,
  p: () => setPlaying(!playing),
  ".": () => step(1),
  ",": () => step(-1),
  ArrowUp: () => choose(-1),
  ArrowDown: () => choose(1),
};

function choose(by) {
  active = Math.min(Math.max(active + by, 0), groups.length - 1);
  showAnswers();
}

function key(event) {
  if ($("reading").hidden || event.ctrlKey || event.altKey || event.metaKey) return;
  const target = event.target;
  // A focused button or slider keeps its own keys.
  if (target.matches("button, select") && ["Enter", " "].includes(event.key)) return;
  if (target.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
  if (event.key in KEY_VALUES) answer(active, KEY_VALUES[event.key]);
  else if (event.key in ACTIONS) ACTIONS[event.key]();
  else return;
  event.preventDefault();
}

document.addEventListener("keydown", key);
$("questions").addEventListener("submit", (event) => event.preventDefault());
groups.forEach((group, criterion) => {
  group.addEventListener("change", (event) => answer(criterion, Number(event.target.value)));
});
$("frame").addEventListener("input", () => {
  setPlaying(false);
  setFrame(Number($("frame").value) - 1);
});
$("play").addEventListener("click", () => setPlaying(!playing));
for (const [id, action] of Object.entries({
  begin,
  resume,
  next,
  previous,
  stop: finish,
  change: () => show("start"),
  export: exportAnswers,
})) {
  $(id).addEventListener("click", action);
}
setPlaying(playing);
requestAnimationFrame(tick);
