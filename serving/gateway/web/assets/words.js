// Texts for the short names of the gateway.

export const CLASSES = ["A", "B", "C", "D"];
export const MEANINGS = {  // ACR BI-RADS Atlas, 5th edition
  A: "almost entirely fatty",
  B: "scattered fibroglandular density",
  C: "heterogeneously dense",
  D: "extremely dense",
};
// In the order of the standard hanging: CC above MLO, right breast on the left.
export const VIEWS = { CC_R: "Right CC", CC_L: "Left CC", MLO_R: "Right MLO", MLO_L: "Left MLO" };

const STATES = {
  receiving: "Receiving files", queued: "Waiting for the model", grading: "Grading", graded: "Graded",
  refused: "Not graded", failed: "Failed",
};
const RESULTS = { pending: ", sending results", delivered: ", results delivered" };
const REFUSAL = { pending: ", sending refusal", delivered: ", refusal delivered" };

export const stateWords = (state) => STATES[state] ?? String(state);

export const deliveryWords = (delivery, refused) => (refused ? REFUSAL : RESULTS)[delivery] ?? "";

export const spaced = (name) => String(name ?? "").replaceAll("_", " ");

export const viewWords = (view) => VIEWS[view] ?? spaced(view);

export const percent = (share) => (100 * share).toFixed(1);

export function counted(number, one, many) { return `${number} ${number === 1 ? one : many}`; }

export function timeWords(iso) {
  const time = new Date(iso ?? NaN);
  if (Number.isNaN(time.getTime())) return "";
  const today = time.toDateString() === new Date().toDateString();
  return time.toLocaleString([], { ...(today ? {} : { dateStyle: "medium" }), timeStyle: "short" });
}
