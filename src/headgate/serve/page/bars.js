// A probability as a bar, with a mark where it counts.
import { digits, h, unseen } from "./dom.js";

/**
 * @typedef {object} Bar
 * @property {string} name
 * @property {number} p 0 to 1
 * @property {number | null} [least] where it counts from
 * @property {string} [badge] says in a word what stands out
 * @property {string} [look] "chosen", "broken", "none" or ""
 */

/**
 * A line of the track: how long, and the mark on it.
 * @param {number} p
 * @param {number | null | undefined} least
 */
export function track(p, least = null) {
  const line = h("span.track", { "aria-hidden": "true" }, h("span.fill"));
  line.style.setProperty("--p", `${Math.min(1, Math.max(0, p))}`);
  if (typeof least === "number") {
    const mark = h("span.least");
    mark.style.setProperty("--at", `${least}`);
    line.append(mark);
  }
  return line;
}

/**
 * A number beside what it is compared with: "0.998 ≥ 0.497".
 * @param {number} p
 * @param {number | null | undefined} least
 */
export function compared(p, least = null) {
  const sign =
    typeof least === "number"
      ? h("span.soft", { "aria-hidden": "true" }, ` ${p >= least ? "≥" : "<"} ${digits(least)}`)
      : null;
  const words =
    typeof least === "number" ? unseen(`, ${p >= least ? "not below" : "below"} its threshold ${digits(least)}`) : null;
  return h("span.number", {}, digits(p), sign, words);
}

/**
 * What a bar is made of, to be put into a list item or a button.
 * @param {Bar} bar
 */
export function bar({ name, p, least = null, badge = "", look = "" }) {
  return h(
    `span.bar${look ? `.${look}` : ""}`,
    {},
    h("span.name", {}, name),
    badge && h("span.badge", {}, badge),
    compared(p, least),
    track(p, least),
  );
}

/**
 * What was read of a text, in words.
 * @param {{windows: number, read: number, total: number} | undefined} coverage
 * @param {number} unknown
 */
export function read(coverage, unknown) {
  if (!coverage) return null;
  const windows = coverage.windows === 1 ? "in one window" : `in ${coverage.windows} windows`;
  const whole =
    coverage.read === coverage.total
      ? "All of the text was read"
      : `${coverage.read} of ${coverage.total} tokens were read`;
  const tokens =
    coverage.read && coverage.read === coverage.total ? `, ${coverage.read.toLocaleString("en")} tokens` : "";
  const lost = unknown > 0 ? ` ${Math.max(1, Math.round(100 * unknown))} % of it was unknown to the tokenizer.` : "";
  return h("p.soft.read", {}, `${whole} ${windows}${tokens}.${lost}`);
}
