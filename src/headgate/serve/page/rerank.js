// The old order and the new one, and how each document moved.
import { track } from "./bars.js";
import { byId, count, digits, h, unseen } from "./dom.js";
import { Failure } from "./api.js";
import { marked, texts } from "./text.js";

/** @typedef {{index: number, relevance_score: number, relevant_spans?: {start: number, end: number}[]}} Hit */

const MOVE = { duration: 420, easing: "cubic-bezier(.2, .7, .2, 1)" };

/** @type {import("./panel.js").Job} */
export const rerank = { name: "rerank", path: "v1/rerank", body, show };

/** How many documents the field holds, while it is written in. */
export function counted() {
  const field = byId("rerank-documents");
  const say = () =>
    (byId("rerank-count").textContent =
      `${count(texts(field.value).length, "document")}: one a line, or parted by blank lines.`);
  field.addEventListener("input", say);
  say();
}

/** @param {HTMLFormElement} form */
function body(form) {
  const data = new FormData(form);
  const documents = texts(`${data.get("documents")}`);
  if (!documents.length) throw new Failure("There are no documents; write at least one.", 400);
  const spans = { mode: "enabled", threshold: 0, max_spans: 1 };
  return { model: data.get("model") ?? undefined, query: data.get("query"), documents, relevant_spans: spans };
}

/**
 * @param {{results: Hit[]}} reply
 * @param {{documents: string[]}} asked
 * @param {HTMLElement} results
 */
function show(reply, asked, results) {
  const items = reply.results.map((hit, rank) => item(hit, rank, asked.documents[hit.index]));
  const list = h("ol.ranked");
  results.append(list);
  const before = reply.results
    .map((hit, rank) => ({ index: hit.index, item: items[rank] }))
    .sort((a, b) => a.index - b.index);
  moved(
    list,
    before.map(({ item }) => item),
    items,
  );
  const best = reply.results[0];
  const first = !best
    ? ""
    : best.index === 0
      ? " The first stays first."
      : ` Number ${best.index + 1} comes first now.`;
  return `${count(items.length, "document")} in order.${first}`;
}

/**
 * @param {Hit} hit
 * @param {number} rank from 0
 * @param {string} text
 */
function item(hit, rank, text) {
  const spans = (hit.relevant_spans ?? []).map(({ start, end }) => /** @type {[number, number]} */ ([start, end]));
  return h(
    "li.card.hit",
    {},
    h("span.rank", { "aria-hidden": "true" }, rank + 1),
    movement(hit.index - rank, hit.index),
    h("p.words", { dir: "auto" }, ...marked(text, spans)),
    h("span.score", {}, unseen("relevance "), digits(hit.relevance_score)),
    track(hit.relevance_score),
  );
}

/**
 * @param {number} up places
 * @param {number} from index
 */
function movement(up, from) {
  const [look, sign] = up > 0 ? ["up", `▲${up}`] : up < 0 ? ["down", `▼${-up}`] : ["same", "="];
  const words = up ? `${up > 0 ? "up" : "down"} ${count(Math.abs(up), "place")}, was ${from + 1}` : "stays";
  return h(
    `span.moved.${look}`,
    {},
    h("span", { "aria-hidden": "true" }, sign),
    unseen(`${words}. `),
    up ? h("small", { "aria-hidden": "true" }, `was ${from + 1}`) : null,
  );
}

/**
 * Lay the list out in its old order, then in the new one, and let each item travel between.
 * @param {HTMLElement} list
 * @param {HTMLElement[]} before
 * @param {HTMLElement[]} after
 */
function moved(list, before, after) {
  list.append(...before);
  const tops = new Map(before.map((item) => [item, item.offsetTop]));
  list.append(...after);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const item of after) {
    const by = (tops.get(item) ?? 0) - item.offsetTop;
    if (by) item.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], MOVE);
  }
}
