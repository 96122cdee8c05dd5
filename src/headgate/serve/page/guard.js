// A verdict rule by rule, and for each rule the characters that it is about.
import { bar, read } from "./bars.js";
import { count, h, unseen } from "./dom.js";
import { described, marked } from "./text.js";

/** @typedef {import("./text.js").Span} Span */

/**
 * @typedef {object} Verdict
 * @property {boolean} allowed
 * @property {string[]} broken
 * @property {Record<string, number>} probabilities
 * @property {Record<string, number>} thresholds
 * @property {Record<string, Span>} spans
 * @property {number} unknown
 * @property {any} coverage
 * @property {boolean} enforced
 */

/** @type {import("./panel.js").Job} */
export const guard = { name: "guard", path: "v1/guard", body, show };

/** @param {HTMLFormElement} form */
function body(form) {
  const data = new FormData(form);
  const input = data.get("input");
  if (data.get("guard")) return { input, guard: data.get("guard") };
  return { input, forbid: described(`${data.get("rules")}`), threshold: Number(data.get("threshold")) };
}

/**
 * @param {{results: Verdict[]}} reply
 * @param {{input: string}} asked
 * @param {HTMLElement} results
 */
function show(reply, asked, results) {
  const verdict = reply.results[0];
  const order = (/** @type {string} */ rule) => (verdict.broken.includes(rule) ? 1 : 0) + verdict.probabilities[rule];
  const rules = Object.keys(verdict.probabilities).sort((a, b) => order(b) - order(a));
  const echo = h("p.words", { dir: "auto" });
  const about = h("h3", { "aria-live": "polite" });
  const buttons = rules.map((rule) => button(verdict, rule));
  spotlight(buttons, rules, (rule) => {
    echo.replaceChildren(...marked(asked.input, rule && verdict.spans[rule] ? [verdict.spans[rule]] : []));
    about.textContent = rule ? `What gave ${rule} its probability` : "The text";
  });
  results.append(
    headline(verdict),
    h(
      "ul.bars.card",
      { "aria-label": "Rules: press one to see what gave it its probability" },
      ...buttons.map((b) => h("li", {}, b)),
    ),
    h("div.card.echo", {}, about, echo),
    read(verdict.coverage, verdict.unknown) ?? "",
  );
  const n = verdict.broken.length;
  return `${n || "None"} of ${count(rules.length, "rule")} broken${n ? `: ${verdict.broken.join(", ")}` : ""}.`;
}

/** @param {Verdict} verdict */
function headline(verdict) {
  const shadow = verdict.enforced === false ? " The guard is in shadow: it says so, and lets it pass." : "";
  const unreadable = verdict.broken.includes("unreadable") ? " The tokenizer can't read it." : "";
  const [look, words] = verdict.allowed ? ["good", "✓ allowed"] : ["bad", "✕ blocked"];
  const why = verdict.allowed
    ? "No rule reaches its threshold."
    : verdict.broken.length === 1
      ? "One rule reaches its threshold."
      : `${verdict.broken.length} rules reach their thresholds.`;
  return h(`div.verdict.${look}`, {}, h("strong", {}, words), h("p", {}, `${why}${unreadable}${shadow}`));
}

/**
 * @param {Verdict} verdict
 * @param {string} rule
 */
function button(verdict, rule) {
  const broken = verdict.broken.includes(rule);
  const inside = bar({
    name: rule,
    p: verdict.probabilities[rule],
    least: verdict.thresholds[rule],
    badge: broken ? "✕ broken" : "",
    look: broken ? "broken" : "",
  });
  return h("button.rule", { type: "button", "aria-pressed": "false" }, inside, unseen(". Show its words"));
}

/**
 * One rule is in the light: the one that is pointed at, else the one that was pressed.
 * @param {HTMLElement[]} buttons
 * @param {string[]} rules
 * @param {(rule: string | null) => void} light
 */
function spotlight(buttons, rules, light) {
  let pressed = 0; // the rule that stands out most
  const press = (/** @type {number} */ k) => {
    pressed = k;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", `${i === k}`));
    light(rules[k] ?? null);
  };
  buttons.forEach((button, k) => {
    button.addEventListener("click", () => press(k));
    for (const on of ["pointerenter", "focus"]) button.addEventListener(on, () => light(rules[k]));
    for (const off of ["pointerleave", "blur"]) button.addEventListener(off, () => light(rules[pressed] ?? null));
  });
  press(0);
}
