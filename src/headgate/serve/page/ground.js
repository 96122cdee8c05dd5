// An answer sentence by sentence, and the words of the passages that hold or deny it.
import { Failure } from "./api.js";
import { compared, track } from "./bars.js";
import { count, digits, h, unseen } from "./dom.js";
import { marked, texts } from "./text.js";

/** @typedef {import("./text.js").Span} Span */
/** @typedef {{passage: number, span: Span, probability: number, joined: number | null}} Citation */

/**
 * @typedef {object} Claim
 * @property {string} sentence
 * @property {Span} span
 * @property {boolean} supported
 * @property {"supported" | "contradicted" | "no evidence"} verdict
 * @property {number} probability
 * @property {number | null} contradiction
 * @property {Citation[]} citations
 * @property {string[]} missing
 * @property {Record<string, number>} thresholds
 */

const LOOKS = { supported: "good", contradicted: "bad", "no evidence": "open" };
const SIGNS = { supported: "✓", contradicted: "✕", "no evidence": "?" };

/** @type {import("./panel.js").Job} */
export const ground = { name: "ground", path: "v1/ground", body, show };

/** @param {HTMLFormElement} form */
function body(form) {
  const data = new FormData(form);
  const passages = texts(`${data.get("passages")}`);
  if (!passages.length) throw new Failure("There are no passages; write at least one.", 400);
  const contradiction = data.get("contradiction");
  return {
    answer: data.get("answer"),
    passages,
    grounding: data.get("grounding") ?? undefined,
    threshold: Number(data.get("threshold")),
    contradiction: contradiction ? Number(contradiction) : undefined,
  };
}

/**
 * @param {{claims: Claim[], supported: boolean}} reply
 * @param {{answer: string, passages: string[]}} asked
 * @param {HTMLElement} results
 */
function show(reply, asked, results) {
  const { claims } = reply;
  const passages = asked.passages.map((text, k) => passage(text, k));
  const detail = h("div.detail", { id: "ground-detail", "aria-live": "polite" });
  const shelf = h("div.passages", { role: "region", "aria-label": "Passages", tabindex: 0 }, ...passages);
  const cite = (/** @type {Citation[]} */ cited, /** @type {boolean} */ scroll) =>
    light(passages, asked.passages, cited, scroll);
  const sentences = claims.map((claim) => sentence(claim));
  const choose = (/** @type {number} */ k, scroll = true) => {
    sentences.forEach((one, i) => one.setAttribute("aria-pressed", `${i === k}`));
    detail.replaceChildren(...said(claims[k], (one) => cite([one], true)));
    cite(claims[k].citations, scroll);
  };
  sentences.forEach((one, k) => pressed(one, () => choose(k)));
  results.append(
    h("div.card.answer", {}, h("p.words", { dir: "auto" }, ...woven(asked.answer, claims, sentences)), detail),
    h("h3", {}, "Passages"),
    shelf,
  );
  if (claims.length)
    choose(
      Math.max(
        0,
        claims.findIndex((claim) => !claim.supported),
      ),
      false,
    );
  return summed(claims);
}

/** @param {Claim[]} claims */
function summed(claims) {
  if (!claims.length) return "The answer claims nothing.";
  const of = (/** @type {string} */ verdict) => claims.filter((claim) => claim.verdict === verdict).length;
  const parts = Object.keys(LOOKS)
    .map((verdict) => [verdict, of(verdict)])
    .filter(([, n]) => n);
  return `${count(claims.length, "sentence")}: ${parts.map(([verdict, n]) => `${n} ${verdict === "no evidence" ? "without evidence" : verdict}`).join(", ")}.`;
}

/** @param {Claim} claim */
function sentence(claim) {
  const look = LOOKS[claim.verdict] ?? "open";
  return h(
    `span.claim.${look}`,
    { role: "button", tabindex: 0, "aria-pressed": "false", "aria-controls": "ground-detail" },
    h("span.sign", { "aria-hidden": "true" }, `${SIGNS[claim.verdict] ?? "?"}\u2060`),
    unseen(`${claim.verdict}: `),
    claim.sentence,
  );
}

/**
 * The answer as it was, with its sentences made into buttons where they stand.
 * @param {string} answer
 * @param {Claim[]} claims
 * @param {HTMLElement[]} sentences
 */
function woven(answer, claims, sentences) {
  const points = Array.from(answer);
  /** @type {(string | HTMLElement)[]} */
  const parts = [];
  let at = 0;
  claims.forEach(({ span: [start, end] }, k) => {
    parts.push(points.slice(at, start).join(""), sentences[k]);
    at = end;
  });
  return [...parts, points.slice(at).join("")];
}

/**
 * @param {string} text
 * @param {number} k
 */
function passage(text, k) {
  return h("div.card.passage", {}, h("span.label", {}, `Passage ${k + 1}`), h("p.words", { dir: "auto" }, text));
}

/**
 * What is known of a sentence.
 * @param {Claim} claim
 * @param {(citation: Citation) => void} follow
 * @returns {HTMLElement[]}
 */
function said(claim, follow) {
  const { supported: least, contradicted } = claim.thresholds;
  const rows = [row("supported", claim.probability, least)];
  if (claim.contradiction !== null) rows.push(row("contradicted", claim.contradiction, contradicted));
  const parts = [
    h(
      "p",
      {},
      h(`span.badge.${LOOKS[claim.verdict] ?? "open"}`, {}, `${SIGNS[claim.verdict] ?? "?"} ${claim.verdict}`),
      ...why(claim),
    ),
    h("div.bars", {}, ...rows),
  ];
  if (claim.citations.length) {
    const links = claim.citations.map((one) => {
      const joined = one.joined === null ? "" : `, read with passage ${one.joined + 1}`;
      const link = h(
        "button.cite",
        { type: "button" },
        `Passage ${one.passage + 1}, characters ${one.span[0]}–${one.span[1]}${joined}`,
        h("span.soft", {}, ` ${digits(one.probability)}`),
      );
      link.addEventListener("click", () => follow(one));
      return h("li", {}, link);
    });
    parts.push(h("ul.citations", { "aria-label": "Citations" }, ...links));
  }
  return parts;
}

/** @param {Claim} claim */
function why(claim) {
  if (claim.missing.length) {
    const words = claim.missing.flatMap((one, k) => [k ? ", " : "", h("strong", {}, one)]);
    return [" Missing in the passages: ", ...words, "."];
  }
  return claim.citations.length ? [] : [" No passage says so, and none denies it."];
}

/**
 * @param {string} name
 * @param {number} p
 * @param {number | undefined} least
 */
const row = (name, p, least) => h("div.bar", {}, h("span.name", {}, name), compared(p, least), track(p, least));

/**
 * Mark what is cited, and bring the first of it into view.
 * @param {HTMLElement[]} passages
 * @param {string[]} words
 * @param {Citation[]} cited
 * @param {boolean} scroll
 */
function light(passages, words, cited, scroll) {
  passages.forEach((one, k) => {
    const spans = cited.filter(({ passage }) => passage === k).map(({ span }) => span);
    one.classList.toggle("cited", spans.length > 0);
    one.querySelector("p")?.replaceChildren(...marked(words[k], spans));
  });
  const first = cited.length && scroll ? passages[cited[0].passage] : null;
  if (!first) return;
  const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
  first.scrollIntoView({ block: "nearest", behavior });
}

/**
 * @param {HTMLElement} element
 * @param {() => void} act
 */
function pressed(element, act) {
  element.addEventListener("click", act);
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault(); // the space bar would scroll
    act();
  });
}
