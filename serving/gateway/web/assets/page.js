// The page: upload, list of studies, open study. The address contains the key of the open study, so that a reload keeps it.

import { byId, el, say } from "./dom.js";
import { chosenFiles, droppedFiles } from "./files.js";
import { Gateway } from "./gateway.js";
import { Hanging } from "./hanging.js";
import { reportOf } from "./report.js";
import { counted, deliveryWords, stateWords, timeWords } from "./words.js";

const SOON = 1000, LATER = 5000;  // milliseconds between requests
const MOVING = new Set(["receiving", "queued", "grading"]);

const gateway = new Gateway(askToken);
const hanging = new Hanging(gateway);
const sent = new Map();  // { label, names } of exams that this tab sent, by study key
let limits = {}, sending = null, drawn = "", listed = "", timer = 0, asked = 0;

function openKey() {
  try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
}

function askToken(refused) {
  const dialog = byId("token-dialog"), input = byId("token"), form = byId("token-form");
  byId("token-message").textContent = refused
    ? "The gateway refused this token. Enter the correct one." : "The gateway requires its access token.";
  byId("token-message").className = refused ? "note fail" : "";
  input.value = "";
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close();
      resolve(input.value);
      input.value = "";
    }, { once: true });
  });
}

function studyButton(study) {
  const grade = study.density
    ? el("span", { className: `chip c${study.density}` }, String(study.density)) : el("span", { className: "chip" }, "–");
  const label = sent.get(study.key)?.label ?? `Study ${String(study.key).slice(0, 6)}`;
  const button = el("button", { type: "button", "data-key": study.key, "data-state": study.state }, grade,
    el("span", { className: "about" }, el("b", {}, label),
      el("span", { className: "detail" }, [stateWords(study.state), timeWords(study.received_at)].filter(Boolean).join(" · "))));
  if (study.key === openKey()) button.setAttribute("aria-current", "true");
  button.addEventListener("click", () => { location.hash = encodeURIComponent(study.key); });
  return el("li", {}, button);
}

function drawList(studies) {
  const now = JSON.stringify([openKey(), studies.map((study) => [study, sent.get(study.key)?.label])]);
  if (now === listed) return;
  listed = now;
  const focused = document.activeElement?.dataset?.key;
  byId("no-studies").hidden = studies.length > 0;
  byId("studies").replaceChildren(...studies.map(studyButton));
  if (focused) [...byId("studies").querySelectorAll("button")].find((button) => button.dataset.key === focused)?.focus();
}

function drawStudy(study) {
  const now = JSON.stringify(study);
  if (now === drawn) return;
  drawn = now;
  const names = sent.get(study.key)?.names;
  const more = MOVING.has(study.state) ? " …" : deliveryWords(study.delivery, study.state === "refused");
  byId("status").textContent = stateWords(study.state) + more;
  byId("status").dataset.state = study.state;
  byId("report").replaceChildren(...reportOf(study, (name) => names?.get(name) ?? String(name ?? "")));
  if (study.exam) hanging.show(study.key, study.exam);
  else hanging.empty(MOVING.has(study.state) ? "" : "Only shown if graded");
}

function clearStudy(text) {
  drawn = "";
  byId("status").textContent = text;
  byId("status").dataset.state = "";
  byId("report").replaceChildren();
  hanging.empty();
}

// Gets the list and the open study repeatedly, more often while a state changes. If rounds overlap, the last one is used.
async function refresh() {
  clearTimeout(timer);
  const round = ++asked, key = openKey();
  let wait = LATER;
  try {
    const { studies = [], limits: given } = await gateway.studies();
    if (round !== asked) return;
    limits = given ?? {};
    drawList(studies);
    if (studies.some((study) => MOVING.has(study.state))) wait = SOON;
    if (key) {
      const study = await gateway.study(key);
      if (round !== asked) return;
      drawStudy(study);
      if (MOVING.has(study.state)) wait = SOON;
    }
    say(byId("offline"), "");
  } catch (error) {
    if (round !== asked) return;
    if (error.status === 404 && key) clearStudy("The gateway does not have this study, or deleted it.");
    else say(byId("offline"), `${error.message} Trying again …`);
  }
  if (round === asked && !document.hidden) timer = setTimeout(refresh, wait);
}

function tooMuch(files) {
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  if (limits.files && files.length > limits.files) return `One exam may have up to ${limits.files} files; these are ${files.length}.`;
  if (limits.bytes && bytes > limits.bytes) return `One exam may have up to ${Math.floor(limits.bytes / 2 ** 20)} MiB; this one is larger.`;
  return "";
}

function uploadSays(text, kind = "") {
  byId("upload-message").className = `note ${kind}`;
  say(byId("upload-message"), text);
}

function drawRefused(refused, files) {
  byId("upload-refused").hidden = !refused.length;
  byId("upload-refused").replaceChildren(...refused.map(({ index, message }) =>
    el("li", {}, el("b", {}, files[index]?.name ?? "A file"), el("span", { className: "detail" }, String(message ?? "")))));
}

async function send({ files, label }) {
  if (sending) return uploadSays("An upload is running: wait until it ends, or cancel it.", "warn");
  drawRefused([], files);
  if (!files.length) return uploadSays("No file found.", "warn");
  const problem = tooMuch(files);
  if (problem) return uploadSays(`${problem} Send the files of one exam.`, "fail");
  const bar = byId("upload-progress");
  sending = new AbortController();
  uploadSays("");
  byId("upload-name").textContent = `${label}: ${counted(files.length, "file", "files")}`;
  bar.value = 0;
  byId("upload").hidden = false;
  try {
    const answer = await gateway.upload(files, (share) => { bar.value = share; }, sending.signal);
    const names = new Map((answer.files ?? []).map(({ index, name }) => [name, files[index]?.name ?? name]));
    for (const key of answer.keys ?? []) sent.set(key, { label, names });
    drawRefused(answer.refused ?? [], files);
    uploadSays(`Accepted: ${counted(answer.files?.length ?? 0, "file", "files")}.`, "pass");
    if (answer.keys?.length) location.hash = encodeURIComponent(answer.keys[0]);
  } catch (error) {
    drawRefused(error.answer?.refused ?? [], files);
    uploadSays(error.name === "AbortError" ? "Cancelled." : error.message, error.name === "AbortError" ? "warn" : "fail");
  } finally {
    sending = null;
    byId("upload").hidden = true;
    refresh();
  }
}

const drop = byId("drop");
addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  try {
    await send(await droppedFiles(event.dataTransfer));
  } catch {
    uploadSays("The dropped items cannot be read.", "fail");
  }
});
for (const id of ["files", "folder"]) {
  byId(`choose-${id}`).addEventListener("click", () => byId(id).click());
  byId(id).addEventListener("change", () => {
    const chosen = chosenFiles(byId(id));
    byId(id).value = "";
    send(chosen);
  });
}
byId("upload-cancel").addEventListener("click", () => sending?.abort());
byId("forget").addEventListener("click", () => {
  gateway.forgetToken();
  location.hash = "";
  clearStudy("The browser deleted the token.");
  drawList([]);
  refresh();
});
byId("skip").addEventListener("click", (event) => {
  event.preventDefault();  // the address contains the study
  byId("answer").focus();
});
byId("token-dialog").addEventListener("cancel", (event) => event.preventDefault());
addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement && event.target.type === "password";
  if (event.key.toLowerCase() !== "h" || typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  byId("heat").click();
});
addEventListener("hashchange", () => {
  if (openKey()) clearStudy("Loading …");
  refresh();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
refresh();
