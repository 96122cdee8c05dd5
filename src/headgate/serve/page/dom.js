// Elements from data. Data becomes text nodes and attributes, never markup: what a document says can't run.

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * An element.
 * @param {string} tag with classes: "li.bar.broken"
 * @param {Record<string, string | number | boolean | null | undefined>} attributes null, undefined and false leave one out
 * @param {...Child} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false)
      element.setAttribute(key, value === true ? "" : `${value}`);
  }
  element.append(...present(children));
  return element;
}

/**
 * @param {Child[]} children
 * @returns {(Node | string)[]} those that are there
 */
function present(children) {
  return children
    .filter((c) => c !== null && c !== undefined && c !== false)
    .map((c) => (c instanceof Node ? c : `${c}`));
}

/**
 * Words for those who hear the page.
 * @param {string} words
 */
export const unseen = (words) => h("span.unseen", {}, words);

/**
 * @param {string} id
 * @returns {any} the element of index.html with this id
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found;
}

/**
 * A probability as text.
 * @param {number} p
 */
export const digits = (p) => (p > 0 && p < 0.0005 ? "<0.001" : p.toFixed(3));

/**
 * @param {number} n
 * @param {string} one
 * @param {string} [many]
 */
export const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
