// The four views in the layout of a viewing station, each with its heat map as a layer above it.

import { byId, el } from "./dom.js";
import { VIEWS, percent, viewWords } from "./words.js";

export class Hanging {
  #gateway;
  #shown = "";  // study and grade whose pictures are shown
  #study = null;  // key and exam of these
  #urls = [];
  #loading = new AbortController();

  constructor(gateway) {
    this.#gateway = gateway;
    byId("heat").addEventListener("change", () => this.applyHeat());
    byId("opacity").addEventListener("input", () => this.applyHeat());
    byId("map").addEventListener("change", () => this.#draw());
    this.empty();
  }

  // The slider sets the opacity of the heat layer.
  applyHeat() {
    const value = byId("opacity").value;
    byId("opacity-value").textContent = `${value} %`;
    const hanging = byId("hanging");
    hanging.classList.toggle("bare", !byId("heat").checked);
    hanging.style.setProperty("--heat", value / 100);
  }

  empty(text = "") {
    this.#study = null;
    byId("map-choice").hidden = true;
    byId("method").textContent = "";
    this.#replace("", (view) => this.#place(view, text));
  }

  // Draw only if the grade changed, for example after a late image.
  show(key, exam) {
    const shown = JSON.stringify([key, exam]);
    if (this.#shown === shown) return;
    const views = Object.values(exam.views ?? {});
    this.#study = { key, exam, shown };
    byId("map-choice").hidden = !views.some((view) => view.texture_map);
    if (byId("map-choice").hidden) byId("map").value = "heatmap";
    byId("method").textContent = views[0]?.heat_map ? `Heat maps: ${views[0].heat_map}.` : "";
    this.#draw();
  }

  #draw() {
    if (!this.#study) return;
    const { key, exam, shown } = this.#study;
    this.#replace(shown, (view) => {
      const found = exam.views?.[view];
      return found ? this.#picture(key, view, found) : this.#place(view, "No image");
    });
  }

  #replace(shown, figureOf) {
    this.#loading.abort();  // before new figures start to load
    this.#loading = new AbortController();
    this.#urls.forEach((url) => URL.revokeObjectURL(url));
    this.#urls = [];
    this.#shown = shown;
    byId("hanging").classList.remove("single");
    byId("hanging").replaceChildren(...Object.keys(VIEWS).map(figureOf));
    this.applyHeat();
  }

  #place(view, text) {
    const caption = el("figcaption", {}, el("b", {}, viewWords(view)));
    return el("figure", { className: "view", "data-view": view },
      el("div", { className: `frame none ${view.slice(-1)}` }, text), caption);
  }

  #picture(key, view, found) {
    const words = viewWords(view);
    const frame = el("button", {
      type: "button", className: `frame ${view.slice(-1)}`, "aria-label": `${words}: enlarge`, "aria-pressed": "false",
    });
    const flags = (found.flags ?? []).map((flag) => el("span", { className: "flag" }, String(flag)));
    const caption = el("figcaption", {}, el("b", {}, words),
      el("span", { className: `chip c${found.density}` }, String(found.density)),
      el("span", { className: "soft" }, `${percent(found.probabilities?.[found.density] ?? 0)} %`), ...flags);
    const beside = el("div", { className: `frame beside ${view.slice(-1)}` });  // the tissue below the map, if enlarged
    const figure = el("figure", { className: "view", "data-view": view },
      el("div", { className: "panels" }, frame, beside), caption);
    frame.addEventListener("click", () => this.#enlarge(figure, frame));
    this.#load([frame, beside], key, view, words, "grey");
    this.#load([frame], key, `${view}.${byId("map").value}`, `Heat map of ${words}`, "heat");
    if (found.pectoral_area_fraction > 0) this.#load([beside], key, `${view}.muscle`, `Muscle of ${words}`, "muscle");
    return figure;
  }

  #enlarge(figure, frame) {
    const single = byId("hanging").classList.toggle("single");
    figure.classList.toggle("chosen", single);
    frame.setAttribute("aria-pressed", String(single));
  }

  async #load(frames, key, name, alt, className) {
    const signal = this.#loading.signal;
    const images = frames.map(() => el("img", { alt, className, decoding: "async" }));
    frames.forEach((frame, index) => frame.append(images[index]));
    try {
      const blob = await this.#gateway.picture(key, name, signal);
      if (signal.aborted) return;
      const url = URL.createObjectURL(blob);
      this.#urls.push(url);
      for (const image of images) image.src = url;
    } catch (error) {
      if (signal.aborted) return;
      for (const image of images) image.remove();
      if (className !== "grey") return;
      for (const frame of frames) {
        frame.replaceChildren(error.status === 404 ? "This picture was deleted." : String(error.message));
        frame.classList.add("none");
      }
    }
  }
}
