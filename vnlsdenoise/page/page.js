// The page around viewer and plots: title, sources with their commands, tables, notes, dark and light.

(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  document.title = `${data.title} - vnlsdenoise`;
  $("title").textContent = data.title;
  $("lead").textContent = data.lead;
  $("footer").textContent = `vnlsdenoise ${data.version}. This page is complete in itself: it loads nothing and sends nothing.`;

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const paint = (theme) => { document.documentElement.dataset.theme = theme; };
  paint(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => paint(dark.matches ? "dark" : "light"));
  $("theme").addEventListener("click", () => paint(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));

  if (data.waiting) {
    $("waiting").hidden = false;
    $("waiting").textContent = `Still being made: ${data.waiting}. Load this page again for what is new.`;
  }

  const plots = [];
  const viewer = data.shots.length ? makeViewer(data, (frame) => plots.forEach((plot) => plot.mark(frame))) : null;
  for (const plot of data.plots) {
    const made = plotFigure(plot, (frame) => viewer && viewer.nearest(frame));
    plots.push({ mark: plot.over_frames ? made.mark : () => {} });
    $("plots").className = "plots";
    $("plots").append(made.figure);
    $("plots").hidden = false;
  }

  const cards = element("div", "", $("sources"));
  cards.className = "cards";
  data.sources.forEach((source, index) => {
    if (!source.detail && !source.command && !source.facts.length) return;
    $("sources").hidden = false;
    const card = element("article", "", cards);
    card.className = "card";
    element("h3", source.name, card);
    if (source.detail) element("p", source.detail, card);
    if (source.facts.length) {
      const list = element("dl", "", card);
      for (const [name, value] of source.facts) { element("dt", name, list); element("dd", value, list); }
    }
    if (source.command) card.append(commandOf(source));
    if (viewer && data.sources.length > 2) {
      const bar = element("div", "", card);
      bar.className = "bar";
      for (const side of ["left", "right"]) {
        const button = element("button", `Show ${side}`, bar);
        button.setAttribute("aria-label", `Show ${source.name} on the ${side}`);
        button.addEventListener("click", () => {
          viewer.set({ [side]: index });
          $("viewer").scrollIntoView({ block: "start" });
        });
      }
    }
  });

  function commandOf(source) {
    const around = element("div");
    around.className = "command";
    const code = element("code", source.command, around), button = element("button", "Copy", around);
    button.setAttribute("aria-label", `Copy the command of ${source.name}`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(source.command);
        button.textContent = "Copied";
      } catch {
        // Pages from a disk may not reach the clipboard everywhere: the text is chosen, and a key copies it.
        getSelection().selectAllChildren(code);
        button.textContent = "Ctrl+C";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    return around;
  }

  for (const told of data.tables) {
    $("tables").hidden = false;
    const around = element("div", "", $("tables")), table = element("table", "", around);
    around.className = "scroll";
    around.tabIndex = 0;
    around.setAttribute("role", "region");
    around.setAttribute("aria-label", told.title);
    element("caption", told.title, table);
    const head = element("tr", "", element("thead", "", table));
    for (const name of told.head) element("th", name, head).scope = "col";
    const body = element("tbody", "", table);
    for (const row of told.rows) {
      const line = element("tr", "", body);
      row.forEach((value, index) => {
        const cell = element(index ? "td" : "th", value, line);
        if (index === 0) cell.scope = "row";
        else if (/^[-+]?[\d.]/.test(value)) cell.className = "number";
      });
    }
  }

  for (const note of data.notes) {
    $("notes").hidden = false;
    element("li", note, $("notes").querySelector("ul"));
  }
})();
