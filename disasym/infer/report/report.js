"use strict";
// The page is whole without this script: it sorts, filters, fades, and shows one pair at a time.
document.documentElement.classList.add("js");
document.addEventListener("DOMContentLoaded", () => {
  const root = document.documentElement;
  const at = (id) => document.getElementById(id);

  const theme = at("theme");
  const help = at("help");
  const turnTheme = () => {
    const light = root.dataset.theme === "dark";
    root.dataset.theme = light ? "light" : "dark";
    theme.textContent = light ? "Dark" : "Light";
    theme.setAttribute("aria-pressed", String(light));
  };
  theme.addEventListener("click", turnTheme);
  at("keys").addEventListener("click", () => help.showModal());

  const body = document.querySelector(".list tbody");
  const always = { l: turnTheme, "?": () => help.showModal() };
  if (!body) { // no pair: nothing to sort or show
    listen(always);
    return;
  }

  // Sliders and boxes

  const normal = at("normal");
  const heat = at("heat");
  const boxes = at("boxes");
  let heatBefore = 50;
  const paint = () => {
    if (normal) root.style.setProperty("--normal", normal.value / 100);
    if (heat) {
      root.style.setProperty("--heat", heat.value / 100);
      at("heat-value").textContent = `${heat.value} %`;
    }
    if (boxes) root.dataset.boxes = boxes.checked ? "on" : "off";
  };
  const slide = (range, value) => {
    if (!range) return;
    range.value = value;
    paint();
  };
  const turnHeat = () => {
    if (!heat) return;
    if (heat.value > 0) heatBefore = heat.value;
    slide(heat, heat.value > 0 ? 0 : heatBefore);
  };
  for (const input of [normal, heat, boxes]) input?.addEventListener("input", paint);
  paint();

  // The list: which pairs, in which order, and which one is shown

  const rows = [...body.rows];
  const cards = new Map(rows.map((row) => [row, at(row.dataset.anchor)]));
  const visible = () => [...body.rows].filter((row) => !row.hidden);
  let current = rows[0];

  const show = (row) => {
    cards.get(current).classList.remove("current");
    current.removeAttribute("aria-current");
    current = row;
    cards.get(row).classList.add("current");
    row.setAttribute("aria-current", "true");
    row.scrollIntoView({ block: "nearest" });
    const shown = visible();
    const title = cards.get(row).querySelector("h2").textContent;
    at("said").textContent = `${title}: ${shown.indexOf(row) + 1} of ${shown.length}`;
    history.replaceState(null, "", `#${row.dataset.anchor}`);
  };
  const step = (by) => {
    const shown = visible();
    const next = shown[shown.indexOf(current) + by];
    if (next) show(next);
  };
  const end = (which) => {
    const row = visible().at(which);
    if (row) show(row);
  };
  const otherView = () => {
    const siblings = [...cards.get(current).querySelectorAll("a.sibling")];
    const anchors = siblings.map((link) => link.hash.slice(1));
    const others = rows.filter((row) => anchors.includes(row.dataset.anchor));
    if (others.length) show(others.find((row) => row.dataset.number > current.dataset.number) ?? others[0]);
  };
  const follow = () => {
    const row = rows.find((each) => `#${each.dataset.anchor}` === location.hash);
    if (row && row !== current) show(row);
    return row;
  };

  const list = document.querySelector(".list");
  const text = at("text");
  let sorted = false;
  const flatten = () => list.classList.toggle("flat", sorted || visible().length < rows.length); // name each examination
  const filter = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const view = at("view").value;
    const least = Number(at("least").value);
    const boxed = at("boxed").checked;
    for (const row of rows) {
      const data = row.dataset;
      const kept = words.every((word) => data.search.includes(word)) && (!view || data.view === view)
        && Math.max(data.right, data.left) >= least && (!boxed || data.boxes > 0);
      row.hidden = !kept;
      cards.get(row).classList.toggle("filtered", !kept);
    }
    const shown = visible();
    at("count").textContent = at("count").textContent.replace(/^\d+/, shown.length);
    at("none").hidden = shown.length > 0;
    at("images").hidden = shown.length === 0;
    if (shown.length && current.hidden) show(shown[0]);
    flatten();
  };
  at("filter").addEventListener("input", filter);
  at("filter").addEventListener("submit", (event) => event.preventDefault());

  const sort = (button) => {
    const head = button.parentElement;
    const { key, from } = button.dataset;
    const before = head.getAttribute("aria-sort");
    const first = from > 0 ? "ascending" : "descending";
    const order = before === first ? (first === "ascending" ? "descending" : "ascending") : first;
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const value = key === "view" ? (row) => row.dataset.view : (row) => Number(row.dataset[key]);
    const compare = (a, b) => (value(a) < value(b) ? -sign : value(a) > value(b) ? sign : a.dataset.number - b.dataset.number);
    rows.sort(compare);
    body.append(...rows);
    at("images").append(...rows.map((row) => cards.get(row))); // printed in this order
    sorted = key !== "number" || order !== "ascending";
    flatten();
    current.scrollIntoView({ block: "nearest" });
  };
  for (const button of document.querySelectorAll(".list th button")) button.addEventListener("click", () => sort(button));

  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!row) return;
    event.preventDefault();
    show(row);
  });
  at("images").addEventListener("click", (event) => {
    const link = event.target.closest("a.sibling");
    if (!link) return;
    event.preventDefault();
    show(rows.find((row) => row.dataset.anchor === link.hash.slice(1)));
  });
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  window.addEventListener("hashchange", follow);
  if (!follow()) current.setAttribute("aria-current", "true");
  filter(); // a browser may have kept what was typed before a reload

  listen({
    ...always,
    ArrowDown: () => step(1), j: () => step(1), ArrowUp: () => step(-1), k: () => step(-1),
    Home: () => end(0), End: () => end(-1), v: otherView,
    n: () => slide(normal, normal?.value > 50 ? 0 : 100),
    ArrowLeft: () => slide(normal, Number(normal?.value) - 10), ArrowRight: () => slide(normal, Number(normal?.value) + 10),
    h: turnHeat,
    "Shift+ArrowLeft": () => slide(heat, Number(heat?.value) - 10), "Shift+ArrowRight": () => slide(heat, Number(heat?.value) + 10),
    b: () => boxes?.click(),
    "/": () => text.focus(),
  });

  function listen(actions) {
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || help.open) return;
      const field = event.target.closest("input:not([type=checkbox]), select");
      const slider = field?.type === "range";
      if (field && event.key === "Escape") field.blur();
      if (field && !(slider && event.key.length === 1)) return; // a field keeps its own keys, a slider its arrows
      const name = event.key.length === 1 ? event.key.toLowerCase() : (event.shiftKey ? "Shift+" : "") + event.key;
      const action = actions[name];
      if (!action) return;
      event.preventDefault();
      action();
    });
  }
});
