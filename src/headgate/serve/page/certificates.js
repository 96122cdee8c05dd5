// What is promised of routers and guards, in words, and what proves it.
import { byId, count, digits, h } from "./dom.js";

/** @typedef {{threshold: number, n: number, errors: number, bound: number | null, guaranteed: boolean, needed: number | null}} Proof */
/**
 * @typedef {object} Certificate
 * @property {string} id
 * @property {"max_error" | "max_false_positive_rate" | "min_recall"} promise
 * @property {number} target
 * @property {number} confidence
 * @property {boolean} guaranteed
 * @property {number | null} needed
 * @property {string} method
 * @property {number} fitted
 * @property {number} certified
 * @property {string} made
 * @property {Record<string, Proof>} proofs
 */
/** @typedef {{kind: string, name: string, model: string, labels: string[] | null, threshold: any, certificate: Certificate | null}} Task */

/** @param {Task[]} tasks */
export function certificates(tasks) {
  const some = tasks.filter(({ kind }) => kind === "router" || kind === "guard");
  const proven = some.filter(({ certificate }) => certificate);
  const bare = some.filter(({ certificate }) => !certificate);
  const none = h(
    "p.empty",
    {},
    "This server has no router or guard of its own: name some in its file, and they show here.",
  );
  byId("certificates").replaceChildren(...[...proven, ...bare].map(section), ...(some.length ? [] : [none]));
}

/** @param {Task} task */
function section(task) {
  const { certificate } = task;
  return h(
    "section.card.certificate",
    { "aria-label": `${task.kind} ${task.name}` },
    h("header", {}, h("h3", {}, task.name), h("span.soft", {}, `${task.kind}, ${task.model}`), stamp(certificate)),
    ...(certificate
      ? promised(certificate)
      : [
          h(
            "p",
            {},
            "It has no certificate: its thresholds were set by hand or came with the model, and nothing is promised of them.",
          ),
          thresholds(task),
        ]),
  );
}

/** @param {Certificate | null} certificate */
function stamp(certificate) {
  if (!certificate) return h("span.badge.plain", {}, "no certificate");
  return certificate.guaranteed ? h("span.badge.good", {}, "✓ guaranteed") : h("span.badge.open", {}, "? not proven");
}

/** @param {Certificate} certificate */
function promised(certificate) {
  return [
    h("p.promise", {}, words(certificate)),
    h("p", {}, lacking(certificate)),
    proofs(certificate),
    h(
      "p.soft.small",
      {},
      `${certificate.method}. ${count(certificate.fitted, "text")} fitted it and ${count(certificate.certified, "other")} certified it, on ${certificate.made}. Id ${certificate.id}.`,
    ),
  ];
}

/** @param {number} share */
const percent = (share) => `${+(100 * share).toFixed(2)} %`;

/** @param {Certificate} certificate */
function words({ promise, target, confidence }) {
  const what = {
    max_error: `of the texts it routes at most ${percent(target)} go wrong`,
    max_false_positive_rate: `of the safe texts it blocks at most ${percent(target)}`,
    min_recall: `of the unsafe texts it blocks at least ${percent(target)}`,
  };
  const said = what[promise] ?? `${promise} ${target}`;
  return `${said[0].toUpperCase()}${said.slice(1)}, with ${percent(confidence)} confidence.`;
}

/** @param {Certificate} certificate */
function lacking({ guaranteed, needed }) {
  if (guaranteed) return "Every proof holds.";
  return needed === null
    ? "This is not proven, and no number of labelled texts would prove it: choose a looser target, or a better model."
    : `This is not proven yet: about ${count(needed, "more labelled text")} would prove it.`;
}

/** @param {Certificate} certificate */
function proofs({ promise, proofs }) {
  const of = { max_error: "routed", max_false_positive_rate: "safe", min_recall: "unsafe" };
  const heads = ["for", "threshold", of[promise] ?? "texts", "errors", "rate, at most", "proven"];
  const rows = Object.entries(proofs).map(([name, proof]) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, name),
      ...[digits(proof.threshold), proof.n, proof.errors, proof.bound === null ? "—" : percent(proof.bound)].map((v) =>
        h("td.n", {}, v),
      ),
      h(
        "td",
        {},
        proof.guaranteed
          ? "✓ yes"
          : proof.needed === null
            ? "✕ no"
            : `✕ needs about ${proof.needed.toLocaleString("en")} more`,
      ),
    ),
  );
  return table("Proofs", heads, rows);
}

/** @param {Task} task */
function thresholds({ kind, labels, threshold }) {
  const each = threshold !== null && typeof threshold === "object";
  const names = each ? Object.keys(threshold) : (labels ?? []);
  const rest = kind === "router" ? "beats none" : "—";
  const rows = names.map((name) => {
    const own = each ? threshold[name] : threshold;
    return h("tr", {}, h("th", { scope: "row" }, name), h("td.n", {}, typeof own === "number" ? digits(own) : rest));
  });
  return rows.length ? table("Thresholds", [kind === "router" ? "route" : "rule", "threshold"], rows) : null;
}

/**
 * @param {string} caption
 * @param {string[]} heads
 * @param {HTMLElement[]} rows
 */
function table(caption, heads, rows) {
  const numbers = heads.map((head, k) => k > 0 && head !== "proven");
  const cells = heads.map((head, k) => h(numbers[k] ? "th.n" : "th", { scope: "col" }, head));
  return h(
    "div.scroll",
    { role: "region", "aria-label": caption, tabindex: 0 },
    h("table", {}, h("caption.unseen", {}, caption), h("thead", {}, h("tr", {}, ...cells)), h("tbody", {}, ...rows)),
  );
}
