// The tabs pattern of the ARIA Authoring Practices: one tab stop, arrows move and select, the address remembers.
import { byId } from "./dom.js";

/** @returns {HTMLElement[]} */
const tabs = () => [...document.querySelectorAll("[role=tab]")].map((tab) => /** @type {HTMLElement} */ (tab));

/** @param {HTMLElement} tab */
const nameOf = (tab) => tab.id.replace("tab-", "");

/** @param {string} name of the panel to show */
export function select(name) {
  for (const tab of tabs()) {
    const chosen = nameOf(tab) === name;
    tab.setAttribute("aria-selected", `${chosen}`);
    tab.tabIndex = chosen ? 0 : -1;
    byId(`panel-${nameOf(tab)}`).hidden = !chosen;
  }
  history.replaceState(null, "", `#${name}`);
}

/** Wire the tabs, and show the one that the address names. */
export function tabbed() {
  const all = tabs();
  for (const tab of all) tab.addEventListener("click", () => select(nameOf(tab)));
  byId("tab-rerank").parentElement.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const next = moved(
      all.findIndex((tab) => tab === document.activeElement),
      all.length,
      event.key,
    );
    if (next === null) return;
    event.preventDefault();
    all[next].focus();
    select(nameOf(all[next]));
  });
  const follow = () => {
    const named = all.map(nameOf).find((name) => `#${name}` === location.hash);
    if (named) select(named);
  };
  addEventListener("hashchange", follow);
  follow();
}

/**
 * @param {number} at
 * @param {number} n
 * @param {string} key
 * @returns {number | null} where it leads, or null
 */
function moved(at, n, key) {
  const to = { ArrowRight: (at + 1) % n, ArrowLeft: (at + n - 1) % n, Home: 0, End: n - 1 };
  return to[/** @type {keyof typeof to} */ (key)] ?? null;
}
