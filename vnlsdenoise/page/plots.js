// Plots as SVG: lines over frames or values, or single points; a colour and a dash a series.

const DASHES = ["", "7 4", "2 3", "9 3 2 3", "1 4", "12 4"];
// In units of a text of 13: on a phone fewer, so that it can be read.
const WIDTH = innerWidth < 600 ? 360 : 640, HEIGHT = 260, LEFT = 56, RIGHT = 14, TOP = 12, BOTTOM = 44;

function svg(name, attributes, parent) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (parent) parent.append(element);
  return element;
}

function element(name, text, parent) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

// Round values from low to high, some five of them.
function ticks(low, high) {
  const rough = (high - low) / 5 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((m) => m * power >= rough) * power;
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) found.push(value);
  return found;
}

function powers(low, high) {
  const found = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++)
    for (const m of [1, 2, 5]) if (m * 10 ** p >= low * 0.999 && m * 10 ** p <= high * 1.001) found.push(m * 10 ** p);
  return found;
}

const shortly = (value) => String(Number(value.toPrecision(4)));

function extent(values, share) {
  const low = Math.min(...values), high = Math.max(...values), room = (high - low) * share || Math.abs(high) * 0.05 || 1;
  return [low - room, high + room];
}

// The figure of a plot. chosen(x) is called with a value of x where it was clicked, if x is frames.
function plotFigure(plot, chosen) {
  const figure = element("figure");
  element("figcaption", plot.title, figure);
  const points = plot.series.flatMap((series) => series.points);
  if (!points.length) {
    element("p", "Nothing to show: no finite values.", figure);
    return { figure, mark: () => {} };
  }
  const toX = (x) => (plot.log_x ? Math.log10(x) : x);
  const [x0, x1] = extent(points.map(([x]) => toX(x)), plot.kind === "points" ? 0.08 : 0);
  const [y0, y1] = extent(points.map(([, y]) => y), 0.06);
  const px = (x) => LEFT + ((toX(x) - x0) / (x1 - x0)) * (WIDTH - LEFT - RIGHT);
  const py = (y) => TOP + ((y1 - y) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
  const said = plot.series.filter((s) => s.points.length).map((s) => {
    const ys = s.points.map(([, y]) => y);
    return `${s.name} from ${shortly(Math.min(...ys))} to ${shortly(Math.max(...ys))}`;
  });
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${plot.title}: ${said.join("; ")}` }, figure);
  for (const y of ticks(y0, y1)) {
    svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: py(y), y2: py(y), class: "grid" }, drawing);
    svg("text", { x: LEFT - 8, y: py(y) + 4, "text-anchor": "end" }, drawing).textContent = shortly(y);
  }
  const across = plot.log_x ? powers(10 ** x0, 10 ** x1) : ticks(x0, x1);
  for (const x of across)
    svg("text", { x: px(x), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, drawing).textContent = shortly(x);
  svg("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, drawing).textContent = plot.x;
  svg("text", { x: -(TOP + HEIGHT - BOTTOM) / 2, y: 13, transform: "rotate(-90)", "text-anchor": "middle" }, drawing).textContent = plot.y;
  plot.series.forEach((series, index) => {
    const colour = `var(--s${index % 6})`, dash = DASHES[index % DASHES.length];
    if (plot.kind === "line") {
      const path = series.points.map(([x, y], i) => `${i ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("");
      if (path) svg("path", { d: path, class: "line", style: `stroke:${colour}`, "stroke-dasharray": dash }, drawing);
    }
    if (plot.kind === "points" || series.points.length < 3)
      series.points.forEach(([x, y], i) => {
        svg("circle", { cx: px(x), cy: py(y), r: 5, style: `fill:${colour}` }, drawing);
        if (!series.labels[i]) return;
        const end = px(x) > WIDTH * 0.7;
        svg("text", { x: px(x) + (end ? -9 : 9), y: py(y) + 4, "text-anchor": end ? "end" : "start" }, drawing).textContent = series.labels[i];
      });
  });
  const cursor = svg("line", { y1: TOP, y2: HEIGHT - BOTTOM, class: "cursor", visibility: "hidden" }, drawing);
  const legend = element("ul", "", figure);
  legend.className = "legend";
  const values = plot.series.map((series, index) => {
    const item = element("li", "", legend), sample = svg("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" }, item);
    svg("line", { x1: 0, x2: 26, y1: 5, y2: 5, style: `stroke:var(--s${index % 6});stroke-width:3`, "stroke-dasharray": DASHES[index % DASHES.length] }, sample);
    element("span", series.name, item);
    return element("span", "", item);
  });
  if (plot.note) element("p", plot.note, figure);
  figure.append(valuesOf(plot));
  const valueAt = (event) => {
    const box = drawing.getBoundingClientRect(), at = ((event.clientX - box.left) / box.width) * WIDTH;
    const x = x0 + ((at - LEFT) / (WIDTH - LEFT - RIGHT)) * (x1 - x0);
    return plot.log_x ? 10 ** x : x;
  };
  const mark = (x) => {
    const inside = x !== null && toX(x) >= x0 && toX(x) <= x1;
    cursor.setAttribute("visibility", inside ? "visible" : "hidden");
    if (inside) { cursor.setAttribute("x1", px(x)); cursor.setAttribute("x2", px(x)); }
    plot.series.forEach((series, index) => {
      if (!inside || !series.points.length) { values[index].textContent = ""; return; }
      const near = series.points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
      values[index].textContent = `: ${shortly(near[1])}`;
    });
  };
  if (plot.kind === "line") {
    drawing.addEventListener("pointermove", (event) => mark(valueAt(event)));
    drawing.addEventListener("pointerleave", () => mark(null));
    if (plot.over_frames) drawing.addEventListener("click", (event) => chosen(valueAt(event)));
  }
  return { figure, mark };
}

// The same in words and numbers, made when it is opened.
function valuesOf(plot) {
  const details = element("details");
  element("summary", "Values", details);
  details.addEventListener("toggle", () => {
    if (details.querySelector("table")) return;
    const around = element("div", "", details), table = element("table", "", around);
    around.className = "scroll";
    const head = element("tr", "", element("thead", "", table));
    for (const name of ["", plot.x, plot.y]) element("th", name, head).scope = "col";
    const body = element("tbody", "", table);
    for (const series of plot.series)
      series.points.forEach(([x, y], i) => {
        const row = element("tr", "", body);
        element("th", series.labels[i] || series.name, row).scope = "row";
        for (const value of [x, y]) element("td", shortly(value), row).className = "number";
      });
  });
  return details;
}
