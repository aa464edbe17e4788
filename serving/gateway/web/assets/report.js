// The report of one study as elements.

import { el } from "./dom.js";
import { CLASSES, MEANINGS, VIEWS, counted, percent, spaced, timeWords, viewWords } from "./words.js";

function gradeCard(exam) {
  const grade = exam.density;
  return el("div", { className: "grade" },
    el("span", { className: `letter c${grade}`, "aria-hidden": "true" }, String(grade)),
    el("div", {},
      el("h2", {}, `BI-RADS density ${grade}`),
      el("p", { className: "meaning" }, MEANINGS[grade] ?? ""),
      el("p", { className: "soft" }, `Probability ${percent(exam.probabilities?.[grade] ?? 0)} %`)));
}

// What limits the trust in the grade, next to it: a reader must not miss it.
function warningsCard(exam) {
  if (!exam.warnings?.length) return null;
  const kind = exam.unseen_system || exam.unlike_training ? "fail" : "warn";
  return el("div", { className: "warnings", role: "alert" },
    ...exam.warnings.map((warning) => el("p", { className: `note ${kind}` }, String(warning))));
}

function probabilityCell(share, likeliest) {
  const fill = el("span", { className: "fill" });
  fill.style.width = `${Math.min(Math.max(100 * share, 0), 100)}%`;
  return el("td", { className: likeliest ? "likeliest" : "" },
    el("data", { value: String(share) }, percent(share)), el("span", { className: "bar", "aria-hidden": "true" }, fill));
}

function probabilityRow(name, probabilities, className = "") {
  const head = el("th", { scope: "row" }, name);
  if (!probabilities) return el("tr", { className }, head, el("td", { colSpan: 4, className: "soft" }, "no view"));
  const highest = Math.max(...CLASSES.map((density) => probabilities[density]));
  return el("tr", { className }, head,
    ...CLASSES.map((density) => probabilityCell(probabilities[density], probabilities[density] === highest)));
}

function probabilityTable(exam) {
  const head = CLASSES.map((density) => el("th", { scope: "col", title: MEANINGS[density] }, density));
  return el("table", { className: "probabilities" },
    el("caption", {}, "Probability of each class, %"),
    el("thead", {}, el("tr", {}, el("td"), ...head)),
    el("tbody", {},
      probabilityRow("Exam", exam.probabilities, "exam"),
      probabilityRow("Right breast", exam.right),
      probabilityRow("Left breast", exam.left),
      ...Object.entries(VIEWS).map(([view, words], index) =>
        probabilityRow(words, exam.views?.[view]?.probabilities, index ? "" : "first"))));
}

function section(title, ...children) {
  return el("section", { className: "part" }, el("h3", {}, title), ...children);
}

function viewLine(view, found) {
  const muscle = found.pectoral_status === "not_applicable" ? "" : `, muscle ${spaced(found.pectoral_status)}`;
  const flags = (found.flags ?? []).map((flag) => el("span", { className: "flag" }, String(flag)));
  return el("li", {}, el("b", {}, viewWords(view)), ` uncertainty ${(found.doubt ?? 0).toFixed(2)}${muscle}`, ...flags);
}

function quality(exam) {
  const views = Object.keys(VIEWS).filter((view) => exam.views?.[view]);
  const systems = [...new Set(views.map((view) => exam.views[view].acquisition_system || "unknown"))];
  const missing = exam.missing_views ?? [];
  const flagged = views.filter((view) => exam.views[view].flags?.length);
  const notes = [];
  if (missing.length) {
    notes.push(el("p", { className: "note warn" },
      `Missing: ${missing.map(viewWords).join(", ")}. The grade is the mean of the other views.`));
  }
  if (flagged.length) notes.push(el("p", { className: "note warn" }, `Look at ${flagged.map(viewWords).join(", ")} before trusting the grade.`));
  if (!notes.length) notes.push(el("p", { className: "note pass" }, "Four views, no quality flag."));
  return section("Quality", ...notes,
    el("ul", { className: "items views" }, ...views.map((view) => viewLine(view, exam.views[view]))),
    el("p", { className: "soft" }, `Acquisition system: ${systems.join("; ")}`));
}

// Files that this tab sent are shown with their own names.
function rejectedFiles(rejected, nameOf) {
  if (!rejected?.length) return null;
  return section(`Rejected: ${counted(rejected.length, "file", "files")}`,
    el("ul", { className: "items rejected" }, ...rejected.map((file) => {
      const message = String(file.message ?? "");
      const bare = message.startsWith(`${file.file}: `) ? message.slice(file.file.length + 2) : message;
      return el("li", {}, el("b", {}, nameOf(file.file)), ` ${spaced(file.reason)}`, el("span", { className: "detail" }, bare));
    })));
}

function deliveryLine(delivery) {
  const waiting = delivery.attempts ? `waiting, ${counted(delivery.attempts, "try", "tries")} so far` : "waiting";
  const words = delivery.state === "waiting" ? waiting : String(delivery.state);
  const kind = { delivered: "pass", failed: "fail" }[delivery.state] ?? "warn";
  return el("li", {}, el("b", {}, String(delivery.destination)), " ", el("span", { className: kind }, words),
    delivery.message ? el("span", { className: "detail" }, String(delivery.message)) : null);
}

function deliveries(study) {
  if (!study.deliveries?.length) return null;
  return section("Results sent to", el("ul", { className: "items deliveries" }, ...study.deliveries.map(deliveryLine)));
}

function refusal(refused) {
  return el("div", { className: "refusal", role: "alert" },
    el("h2", {}, `Not graded: ${spaced(refused.reason)}`), el("p", {}, String(refused.message ?? "")));
}

function failure(failed, over) {
  const again = timeWords(failed.next_attempt_at);
  const tries = failed.attempts ? ` Tried ${counted(failed.attempts, "time", "times")}${again ? `, again at ${again}` : ""}.` : "";
  return el("div", { className: over ? "refusal fail" : "note warn", role: "alert" },
    over ? el("h2", {}, "Failed: no grade") : null, el("p", {}, `${failed.message ?? ""}${tries}`));
}

// nameOf(name at the gateway) returns the name to show.
export function reportOf(study, nameOf) {
  const { exam } = study;
  const facts = [
    exam?.model_version === undefined ? "" : `Model version ${exam.model_version}`,
    study.received_at ? `Received ${timeWords(study.received_at)}` : "",
    typeof study.files === "number" ? counted(study.files, "file", "files") : "",
    `Study ${study.key}`,
  ].filter(Boolean);
  return [
    study.refusal && refusal(study.refusal),
    study.failure && !exam && failure(study.failure, study.state === "failed"),
    exam && gradeCard(exam),
    exam && warningsCard(exam),
    exam && probabilityTable(exam),
    exam && quality(exam),
    rejectedFiles(study.rejected, nameOf),
    deliveries(study),
    el("p", { className: "soft facts" }, facts.join(" · ")),
  ].filter(Boolean);
}
