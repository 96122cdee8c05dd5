// Texts as the server counts them: in Unicode code points. A JavaScript string counts UTF-16 units, and an emoji is two.
import { h } from "./dom.js";

/** @typedef {[start: number, end: number]} Span half-open, in code points */

/**
 * A text with some of its characters in <mark>.
 * @param {string} text
 * @param {Span[]} spans in any order; they may overlap
 * @returns {(string | HTMLElement)[]}
 */
export function marked(text, spans) {
  const points = Array.from(text);
  const slice = (/** @type {number} */ from, /** @type {number} */ to) => points.slice(from, to).join("");
  /** @type {(string | HTMLElement)[]} */
  const parts = [];
  let at = 0;
  for (const [start, end] of [...spans].sort((a, b) => a[0] - b[0])) {
    const from = Math.max(at, start);
    if (end <= from) continue;
    parts.push(slice(at, from), h("mark", {}, slice(from, end)));
    at = end;
  }
  parts.push(slice(at, points.length));
  return parts.filter((part) => part !== "");
}

/**
 * The texts of a field: parted by blank lines where there are any, else one a line.
 * @param {string} value
 */
export function texts(value) {
  const separator = /\n[ \t]*\n/.test(value.trim()) ? /\n(?:[ \t]*\n)+/ : /\n/;
  return value
    .split(separator)
    .map((text) => text.trim())
    .filter(Boolean);
}

/**
 * Lines of "name: description", or of bare names, which describe themselves.
 * @param {string} value
 * @returns {Record<string, string>}
 */
export function described(value) {
  const pairs = value
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean)
    .map((line) => {
      const [, name, said] = /^([^:]+):\s*(\S.*)$/.exec(line) ?? [null, line, line];
      return [`${name}`.trim(), `${said}`];
    });
  return Object.fromEntries(pairs);
}
