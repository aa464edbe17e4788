"use strict";
// Coordinates are pixels of the ingested image from its upper left corner, as docs/review.md has them.
(() => {
  const SVG = "http://www.w3.org/2000/svg", MARGIN = 12;  // so that points on the border can be grasped
  const views = JSON.parse(document.getElementById("views").textContent);
  const byId = (id) => document.getElementById(id);
  const editor = byId("editor"), picture = byId("picture"), stage = byId("stage");
  let current = 0, polygons = [], changed = false, drawing = false, dragged = null, answered = null;

  // Of each view: what was said, and the outline where it is not the automatic one (unsaved: no file has it yet). Kept
  // in the browser, so that closing the page loses nothing; a browser that keeps nothing for files is no obstacle.
  // Another automatic result is another question, whose answer is still to be given.
  const storageKey = (view) => `breast-density review ${view.stem} ${view.status} ${view.doubt}`;
  function recalled(view) {
    try { return JSON.parse(localStorage.getItem(storageKey(view))) ?? {}; } catch { return {}; }
  }
  const states = new Map(views.map((view) => [view.stem, recalled(view)]));
  const stateOf = (view) => states.get(view.stem);
  function remember(view, values) {
    Object.assign(stateOf(view), values);
    try { localStorage.setItem(storageKey(view), JSON.stringify(stateOf(view))); } catch { /* it lasts until reload */ }
  }

  function element(name, attributes, parent) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (parent) parent.append(node);
    return node;
  }
  const copy = (outlines) => outlines.map((outline) => outline.map(([x, y]) => [x, y]));
  const pointsText = (outline) => outline.map((point) => point.join(",")).join(" ");
  const round = (value) => Math.round(value * 10) / 10;
  const clamp = (value, high) => Math.min(Math.max(value, 0), high);

  function drawPicture(svg, view, outlines, margin) {
    svg.replaceChildren();
    svg.setAttribute("viewBox", [-margin, -margin, view.width + 2 * margin, view.height + 2 * margin].join(" "));
    element("image", { href: view.picture, width: view.width, height: view.height }, svg);
    return outlines.map((outline) => element("polygon", { points: pointsText(outline) }, svg));
  }

  function drawCards() {
    byId("cards").replaceChildren(...views.map((view, index) => {
      const item = document.createElement("li"), card = document.createElement("button");
      card.type = "button";
      card.className = "card";
      const svg = element("svg", { "aria-hidden": "true" }, card);
      drawPicture(svg, view, stateOf(view).outline ?? view.polygons, 0);
      const line = (tag, text, name = "") => {
        const node = document.createElement(tag);
        node.textContent = text;
        node.className = name;
        card.append(node);
      };
      line("b", `${view.rank}. ${view.title}`);
      line("small", `${view.found}, doubt ${view.doubt.toFixed(2)}`);
      line("small", view.system);
      line("small", stateOf(view).said ?? "", "said");
      line("small", stateOf(view).unsaved ? "changed outline, not saved" : "", "unsaved");
      card.addEventListener("click", () => open(index));
      item.append(card);
      return item;
    }));
    const count = views.filter((view) => stateOf(view).said).length;
    byId("progress").textContent = count ? `${count} of ${views.length} answered.` : "";
  }

  // Fits the picture to the window, and gives the radius of a point in pixels of the image.
  function size() {
    const width = views[current].width + 2 * MARGIN, height = views[current].height + 2 * MARGIN;
    const zoom = byId("zoom").value / 100;
    const fit = Math.min((stage.clientWidth - 4) / width, (stage.clientHeight - 4) / height);
    picture.setAttribute("width", width * fit * zoom);
    picture.setAttribute("height", height * fit * zoom);
    return 6 / (fit * zoom);
  }

  function draw() {
    const drawn = drawPicture(picture, views[current], polygons, MARGIN), radius = size();
    picture.querySelector("image").style.filter = `brightness(${byId("brightness").value}%)`;
    picture.classList.toggle("drawing", drawing);
    drawn.forEach((polygon, part) => { polygon.dataset.part = part; });
    polygons.forEach((outline, part) => outline.forEach(([x, y], index) => {
      const handle = element("circle", { cx: x, cy: y, r: radius }, picture);
      handle.dataset.part = part;
      handle.dataset.index = index;
    }));
    byId("accept").disabled = changed || views[current].status === "failed";
    byId("back").disabled = answered === null;
  }

  function say(text) { byId("message").textContent = text; }

  function open(index) {
    current = (index + views.length) % views.length;
    const view = views[current];
    byId("title").textContent = `${view.rank}. ${view.title}`;
    const { said, outline, unsaved } = stateOf(view);
    const answer = said ? `, your answer: ${said}` : "";
    byId("facts").textContent = `automatic: ${view.found}, doubt ${view.doubt.toFixed(2)}${answer}`;
    if (!editor.open) editor.showModal();
    picture.classList.remove("bare");
    show(outline ?? view.polygons, Boolean(outline));
    if (unsaved) say("Your outline is not saved yet.");
  }

  function show(outlines, isChanged) {
    polygons = copy(outlines);
    changed = isChanged;
    drawing = polygons.length === 0;
    say(drawing ? "No outline yet. Click along the muscle's edge, point by point, if there is a muscle." : "");
    draw();
  }

  function reset() {
    remember(views[current], { outline: undefined, unsaved: false });
    show(views[current].polygons, false);
  }

  function edited() {
    changed = true;
    remember(views[current], { outline: copy(polygons), unsaved: polygons.length > 0 });
    draw();
  }

  function redraw() {
    polygons = [];
    drawing = true;
    say("Click around the muscle, point by point.");
    edited();
  }

  // Position of a pointer in pixels of the image, kept inside it.
  function place(event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    return [round(clamp(at.x, views[current].width)), round(clamp(at.y, views[current].height))];
  }

  function crosses(outline) {
    const side = (a, b, p) => Math.sign((b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]));
    const sides = outline.map((point, index) => [point, outline[(index + 1) % outline.length]]);
    return sides.some(([a, b], i) => sides.slice(i + 1).some(([c, d]) =>
      side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0));
  }

  function download(answer, text) {
    const view = views[current];
    const seen = { pixels_sha256: view.pixelsSha256, imageWidth: view.width, imageHeight: view.height };
    const content = { ...seen, ...answer, answered_at: new Date().toISOString() };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(content) + "\n"], { type: "application/json" }));
    link.download = `${view.stem}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    remember(view, { said: text, unsaved: false });
    answered = current;
    drawCards();
    open(Math.min(current + 1, views.length - 1));
    const next = current === answered ? "That was the last view." : "Key B goes back to it; a later answer counts.";
    say(`Downloaded for ${view.rank}: ${text}. ${next}`);
  }

  function save() {
    if (!polygons.length || polygons.some((outline) => outline.length < 3)) return say("An outline needs three points.");
    if (polygons.some(crosses)) return say("The outline crosses itself: move or remove a point.");
    download({ polygons }, "my outline");
  }

  function accept() {
    if (byId("accept").disabled) return;
    const seen = views[current].polygons;
    download({ accept: true, ...(seen.length ? { polygons: seen } : { muscle: "absent" }) }, "outline is right");
  }

  const actions = {
    previous: () => open(current - 1), next: () => open(current + 1), close: () => editor.close(),
    back: () => { if (answered !== null) open(answered); }, hide: () => picture.classList.toggle("bare"),
    accept, absent: () => download({ muscle: "absent" }, "no muscle"), save, redraw, reset,
  };
  const keys = {
    a: "accept", n: "absent", s: "save", b: "back", d: "redraw", r: "reset", h: "hide",
    ArrowLeft: "previous", ArrowRight: "next",
  };

  editor.addEventListener("click", (event) => actions[event.target.closest("[data-do]")?.dataset.do]?.());
  editor.addEventListener("close", drawCards);
  document.addEventListener("keydown", (event) => {
    if (!editor.open || event.target instanceof HTMLInputElement || event.ctrlKey || event.metaKey || event.altKey) return;
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    if (!event.repeat) actions[action]();  // a key held down must not answer views that nobody saw
  });
  picture.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    if (event.target.matches("circle")) {
      dragged = event.target.dataset;
      picture.setPointerCapture(event.pointerId);
    } else if (drawing) {
      if (!polygons.length) polygons.push([]);
      polygons[0].push(place(event));
      edited();
    }
  });
  picture.addEventListener("pointermove", (event) => {
    if (!dragged) return;
    polygons[dragged.part][dragged.index] = place(event);
    edited();
  });
  for (const end of ["pointerup", "pointercancel"]) picture.addEventListener(end, () => { dragged = null; });
  picture.addEventListener("contextmenu", (event) => {
    if (!event.target.matches("circle")) return;
    event.preventDefault();
    const { part, index } = event.target.dataset;
    if (polygons[part].length <= 3 && !drawing) return say("An outline needs three points.");
    polygons[part].splice(index, 1);
    edited();
  });
  picture.addEventListener("dblclick", (event) => {
    if (drawing || !event.target.matches("polygon")) return;
    const outline = polygons[event.target.dataset.part], point = place(event);
    const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
    // The side that the point makes least longer.
    const detour = (i) => distance(outline[i], point) + distance(point, outline[(i + 1) % outline.length])
      - distance(outline[i], outline[(i + 1) % outline.length]);
    const best = outline.map((_, i) => i).reduce((a, b) => (detour(b) < detour(a) ? b : a));
    outline.splice(best + 1, 0, point);
    edited();
  });
  for (const id of ["zoom", "brightness"]) byId(id).addEventListener("input", draw);
  addEventListener("resize", () => { if (editor.open) draw(); });
  addEventListener("beforeunload", (event) => { if (views.some((view) => stateOf(view).unsaved)) event.preventDefault(); });
  drawCards();
})();
