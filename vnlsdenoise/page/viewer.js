// Two pictures of one moment in one canvas: a divider between them, side by side, their difference, what flickers.

const VIEWS = [
  ["split", "Split"],
  ["side", "Side by side"],
  ["difference", "Difference"],
  ["flicker", "Flicker"],
  ["blink", "Blink"],
];
const BLINK = 500, PLAY = 160; // milliseconds
const KEPT = 16; // computed pictures
const GRIP = 24; // pixels around the divider that take hold of it
const MOST_ZOOM = 32;

function makeViewer(data, onFrame) {
  const $ = (id) => document.getElementById(id);
  const canvas = $("canvas"), context = canvas.getContext("2d");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  // Of one source alone there is the picture, and beside it what is new in it.
  const single = data.sources.length === 1;
  const state = {
    view: single ? "flicker" : "split", frame: 0, left: data.left, right: Math.min(data.right, data.sources.length - 1),
    divider: 0.5, gain: 4, zoom: 1, x: 0.5, y: 0.5, playing: false, first: true,
  };
  const images = new Map(), computed = new Map();
  let size = null, timer = 0, asked = 0;

  // --- pictures

  function load(frame, source) {
    const url = data.shots[frame].pictures[source], key = `${frame}:${source}`;
    if (!url) return Promise.resolve(null);
    if (!images.has(key)) {
      const image = new Image();
      image.src = url;
      images.set(key, image.decode().then(() => image));
    }
    return images.get(key);
  }

  // The frame that this one is compared with for flicker: the one before it, or at the start of a run the one after.
  function neighbour(frame) {
    const run = data.shots[frame].run;
    return [frame - 1, frame + 1].find((other) => data.shots[other] && data.shots[other].run === run);
  }

  function samples(image) {
    const surface = new OffscreenCanvas(image.width, image.height), inside = surface.getContext("2d", { willReadFrequently: true });
    inside.drawImage(image, 0, 0);
    return inside.getImageData(0, 0, image.width, image.height);
  }

  // Mid grey plus so many times what `one` has more than `other`.
  function amplified(key, one, other) {
    if (!one || !other) return null;
    if (!computed.has(key)) {
      const a = samples(one), b = samples(other).data, gain = state.gain;
      for (let i = 0; i < b.length; i++) if (i % 4 !== 3) a.data[i] = 128 + gain * (a.data[i] - b[i]);
      const surface = new OffscreenCanvas(a.width, a.height);
      surface.getContext("2d").putImageData(a, 0, 0);
      if (computed.size >= KEPT) computed.delete(computed.keys().next().value);
      computed.set(key, surface);
    }
    return computed.get(key);
  }

  async function pictures() {
    const { frame, left, right, view, gain } = state;
    const [a, b] = await Promise.all([load(frame, left), load(frame, right)]);
    if (view === "difference") return [amplified(`d${frame}:${left}:${right}:${gain}`, b, a), null];
    if (view !== "flicker") return [a, b];
    const other = neighbour(frame);
    if (other === undefined) return [null, null];
    if (single) return [a, amplified(`f${frame}:${left}:${gain}`, a, await load(other, left))];
    const before = await Promise.all([load(other, left), load(other, right)]);
    return [
      amplified(`f${frame}:${left}:${gain}`, a, before[0]),
      amplified(`f${frame}:${right}:${gain}`, b, before[1]),
    ];
  }

  // --- drawing

  function layout() {
    const width = $("stage").clientWidth, halves = state.view === "side" ? 2 : 1;
    const height = Math.max(160, Math.min((width / halves) * (size.height / size.width), innerHeight * 0.72));
    const ratio = devicePixelRatio || 1;
    const wanted = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== wanted[0] || canvas.height !== wanted[1]) [canvas.width, canvas.height] = wanted;
    canvas.style.height = `${height}px`;
    const pane = canvas.width / halves;
    const fit = Math.min(pane / size.width, canvas.height / size.height);
    return { pane, halves, fit, scale: fit * state.zoom };
  }

  function place(pane, scale) {
    const half = [pane / 2 / scale / size.width, canvas.height / 2 / scale / size.height];
    const inside = (value, h) => (h >= 0.5 ? 0.5 : Math.min(1 - h, Math.max(h, value)));
    state.x = inside(state.x, half[0]);
    state.y = inside(state.y, half[1]);
    return [Math.round(pane / 2 - state.x * size.width * scale), Math.round(canvas.height / 2 - state.y * size.height * scale)];
  }

  function paint(image, x, clip, scale, at) {
    if (!image) return;
    context.save();
    context.beginPath();
    context.rect(clip[0], 0, clip[1] - clip[0], canvas.height);
    context.clip();
    context.imageSmoothingEnabled = scale < 1;
    context.imageSmoothingQuality = "high";
    context.drawImage(image, x + at[0], at[1], size.width * scale, size.height * scale);
    context.restore();
  }

  async function draw() {
    const mine = ++asked;
    const known = await load(state.frame, state.left) || await load(state.frame, state.right);
    if (!known) return;
    size = { width: known.width, height: known.height };
    const [left, right] = await pictures();
    if (mine !== asked) return; // something newer is on its way
    const { pane, halves, scale } = layout(), at = place(pane, scale);
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    const edge = Math.round(canvas.width * state.divider), divided = state.view === "split" || state.view === "flicker";
    if (halves === 2) {
      paint(left, 0, [0, pane], scale, at);
      paint(right, pane, [pane, canvas.width], scale, at);
      context.fillStyle = "#fff";
      context.fillRect(Math.round(pane) - 1, 0, 2, canvas.height);
    } else if (divided) {
      paint(left, 0, [0, edge], scale, at);
      paint(right, 0, [edge, canvas.width], scale, at);
      handle(edge);
    } else paint(state.view === "blink" && !state.first ? right : left, 0, [0, canvas.width], scale, at);
    tell(divided, left);
    for (const step of [1, -1]) if (data.shots[state.frame + step]) { load(state.frame + step, state.left); load(state.frame + step, state.right); }
  }

  function handle(edge) {
    const ratio = devicePixelRatio || 1, middle = canvas.height / 2;
    context.fillStyle = "#fff";
    context.fillRect(edge - ratio, 0, 2 * ratio, canvas.height);
    context.beginPath();
    context.arc(edge, middle, 15 * ratio, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = "#222";
    for (const side of [-1, 1]) {
      context.beginPath();
      context.moveTo(edge + side * 10 * ratio, middle);
      context.lineTo(edge + side * 4 * ratio, middle - 5 * ratio);
      context.lineTo(edge + side * 4 * ratio, middle + 5 * ratio);
      context.fill();
    }
  }

  function tell(divided, left) {
    const names = [data.sources[state.left].name, data.sources[state.right].name], view = VIEWS.find(([id]) => id === state.view)[1];
    const blinked = state.view === "blink" ? names[state.first ? 0 : 1] : "";
    const what = {
      difference: `${names[1]} minus ${names[0]}, ${state.gain} times, on mid grey`,
      flicker: left ? `change from the frame beside, ${state.gain} times, on mid grey` : "this frame has no neighbour on the page",
    }[state.view];
    $("tag-left").textContent = state.view === "difference" ? "difference" : blinked || names[0];
    $("tag-right").textContent = single ? `change, ${state.gain}×` : names[1];
    $("tag-right").hidden = !(divided || state.view === "side");
    const zoom = Math.round((100 * layout().scale) / (devicePixelRatio || 1));
    const told = [`${data.shots[state.frame].label} (${state.frame + 1} of ${data.shots.length})`, single ? names[0] : `${names[0]} | ${names[1]}`, view.toLowerCase(), what, `${zoom} %`];
    const text = told.filter(Boolean).join(" · ");
    canvas.setAttribute("aria-label", text);
    if ($("told").textContent !== text && !state.playing && state.view !== "blink") $("told").textContent = text;
    canvas.classList.toggle("zoomed", state.zoom > 1);
  }

  // --- what can be done

  function set(changes) {
    Object.assign(state, changes);
    state.frame = Math.max(0, Math.min(data.shots.length - 1, state.frame));
    state.divider = Math.max(0, Math.min(1, state.divider));
    state.gain = Math.max(1, Math.min(32, state.gain));
    $("frame").value = state.frame;
    $("frame").setAttribute("aria-valuetext", data.shots[state.frame].label);
    $("divider").value = 100 * state.divider;
    $("divider").setAttribute("aria-valuetext", `${Math.round(100 * state.divider)} % ${data.sources[state.left].name}`);
    $("gain").value = state.gain;
    $("gain-value").textContent = `${state.gain}×`;
    $("left").value = state.left;
    $("right").value = state.right;
    for (const button of $("views").children) button.setAttribute("aria-pressed", button.dataset.view === state.view);
    $("divider-label").hidden = !["split", "flicker"].includes(state.view);
    $("gain-label").hidden = !["difference", "flicker"].includes(state.view);
    $("play").setAttribute("aria-pressed", state.playing);
    $("play").textContent = state.playing ? "Stop" : "Play";
    onFrame(data.shots[state.frame].frame);
    return draw();
  }

  function zoomTo(zoom, clientX, clientY) {
    if (!size) return;
    const box = canvas.getBoundingClientRect(), before = layout();
    const at = clientX === undefined ? [0, 0] : [
      ((((clientX - box.left) * canvas.width) / box.width) % before.pane) - before.pane / 2,
      ((clientY - box.top) * canvas.height) / box.height - canvas.height / 2,
    ];
    const next = Math.max(Math.min(1, actual()), Math.min(MOST_ZOOM, zoom)), scales = [before.fit * state.zoom, before.fit * next];
    set({
      zoom: next,
      x: state.x + (at[0] / scales[0] - at[0] / scales[1]) / size.width,
      y: state.y + (at[1] / scales[0] - at[1] / scales[1]) / size.height,
    });
  }
  // One pixel of the picture is one of the page.
  const actual = () => (devicePixelRatio || 1) / layout().fit;

  function run(playing) {
    clearInterval(timer);
    state.playing = playing;
    const blinks = state.view === "blink";
    if (playing) timer = setInterval(() => {
      if (blinks) return set({ first: !state.first });
      let next = (state.frame + 1) % data.shots.length;
      // What flickers is seen within a run.
      if (state.view === "flicker" && data.shots[next].run !== data.shots[state.frame].run) next = data.shots.findIndex((s) => s.run === data.shots[state.frame].run);
      return set({ frame: next });
    }, blinks ? BLINK : PLAY);
    return set({});
  }

  function show(view) {
    state.view = view;
    state.first = true;
    return run(view === "blink" && !still);
  }
  const swap = () => set({ left: state.right, right: state.left });
  const actions = {
    ArrowLeft: (shift) => set(shift ? { divider: state.divider - 0.02 } : { frame: state.frame - 1 }),
    ArrowRight: (shift) => set(shift ? { divider: state.divider + 0.02 } : { frame: state.frame + 1 }),
    "+": () => zoomTo(state.zoom * 1.5), "=": () => zoomTo(state.zoom * 1.5), "-": () => zoomTo(state.zoom / 1.5),
    0: () => zoomTo(1), 9: () => zoomTo(actual()), x: swap, " ": () => run(!state.playing),
    "[": () => set({ gain: state.gain - 1 }), "]": () => set({ gain: state.gain + 1 }),
  };
  if (!single) VIEWS.forEach(([id], index) => { actions[index + 1] = () => show(id); });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // What a control does with a key itself stays with it.
    const target = event.target, pressed = event.key === " " || event.key === "Enter";
    if (target.closest("select") || (pressed && target.closest("button, summary"))) return;
    if (target.closest("input") && event.key.startsWith("Arrow")) return;
    const action = actions[event.key] || actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action(event.shiftKey);
  });

  // --- mouse and touch

  const held = new Map();
  let dividing = false, spread = 0;
  const near = (event) => {
    const box = canvas.getBoundingClientRect();
    return ["split", "flicker"].includes(state.view) && Math.abs(event.clientX - box.left - box.width * state.divider) < GRIP;
  };
  canvas.addEventListener("pointerdown", (event) => {
    held.set(event.pointerId, event);
    canvas.setPointerCapture(event.pointerId);
    // Of a picture that fits there is nothing to pan: the divider comes to the finger.
    dividing = held.size === 1 && ["split", "flicker"].includes(state.view) && (near(event) || state.zoom === 1);
    spread = 0;
    canvas.classList.add("dragging");
    if (dividing) move(event);
  });
  const move = (event) => {
    const box = canvas.getBoundingClientRect();
    return set({ divider: (event.clientX - box.left) / box.width });
  };
  canvas.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) { canvas.classList.toggle("dividing", near(event)); return; }
    held.set(event.pointerId, event);
    if (held.size === 2) {
      const [a, b] = [...held.values()], now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      if (spread) zoomTo((state.zoom * now) / spread, (a.clientX + b.clientX) / 2, (a.clientY + b.clientY) / 2);
      spread = now;
    } else if (dividing) move(event);
    else if (size) {
      const ratio = canvas.width / canvas.clientWidth, { scale } = layout();
      set({ x: state.x - ((event.clientX - before.clientX) * ratio) / scale / size.width, y: state.y - ((event.clientY - before.clientY) * ratio) / scale / size.height });
    }
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => {
    held.delete(event.pointerId);
    dividing = false;
    spread = 0;
    canvas.classList.remove("dragging");
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && state.zoom === 1) return; // the page scrolls
    event.preventDefault();
    zoomTo(state.zoom * 1.0015 ** -event.deltaY, event.clientX, event.clientY);
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => zoomTo(state.zoom > 1 ? 1 : actual(), event.clientX, event.clientY));

  // --- controls

  for (const [id, name] of VIEWS) {
    const button = element("button", name, $("views"));
    button.type = "button";
    button.dataset.view = id;
    button.addEventListener("click", () => show(id));
  }
  for (const side of ["left", "right"]) {
    data.sources.forEach((source, index) => { element("option", source.name, $(side)).value = index; });
    $(side).addEventListener("change", () => set({ [side]: Number($(side).value) }));
  }
  $("frame").max = data.shots.length - 1;
  $("frame").addEventListener("input", () => set({ frame: Number($("frame").value) }));
  $("divider").addEventListener("input", () => set({ divider: $("divider").value / 100 }));
  $("gain").addEventListener("input", () => set({ gain: Number($("gain").value) }));
  const clicks = {
    swap, previous: () => set({ frame: state.frame - 1 }), next: () => set({ frame: state.frame + 1 }),
    play: () => run(!state.playing), out: () => zoomTo(state.zoom / 1.5), in: () => zoomTo(state.zoom * 1.5),
    fit: () => zoomTo(1), one: () => zoomTo(actual()),
  };
  for (const [id, action] of Object.entries(clicks)) $(id).addEventListener("click", action);
  $("sides").hidden = $("views").hidden = single;
  new ResizeObserver(() => draw()).observe($("stage"));
  $("viewer").hidden = false;
  set({});
  return {
    set, state,
    nearest(frame) {
      const distance = (shot) => Math.abs((shot.frame ?? Infinity) - frame);
      const best = data.shots.reduce((a, b, i) => (distance(b) < distance(data.shots[a]) ? i : a), 0);
      set({ frame: best });
    },
  };
}
