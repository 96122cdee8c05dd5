// Requests to the server that sent this page, wherever a proxy has put it.

const STORED = "headgate.key";

/** A request that got no answer, in the server's own words. */
export class Failure extends Error {
  /**
   * @param {string} message
   * @param {number} status 0: nothing came back
   */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** @returns {string | null} */
export const key = () => sessionStorage.getItem(STORED);

/** @param {string} value */
export const keepKey = (value) => sessionStorage.setItem(STORED, value);

/**
 * What the server says.
 * @param {string} path relative to the page
 * @param {{body?: object, signal?: AbortSignal}} [options] a body makes it a POST
 * @returns {Promise<any>}
 */
export async function ask(path, { body, signal } = {}) {
  const response = await send(path, body, signal);
  const reply = await response.json().catch(() => null);
  signal?.throwIfAborted();
  if (!response.ok) throw new Failure(said(reply, response), response.status);
  if (reply === null) throw new Failure(`${path} did not answer in JSON; is a proxy in between?`, response.status);
  return reply;
}

/**
 * @param {string} path
 * @param {object | undefined} body
 * @param {AbortSignal | undefined} signal
 */
async function send(path, body, signal) {
  /** @type {Record<string, string>} */
  const headers = body ? { "Content-Type": "application/json" } : {};
  const held = key();
  if (held) headers.Authorization = `Bearer ${held}`;
  try {
    return await fetch(address(path), { method: body ? "POST" : "GET", headers, body: JSON.stringify(body), signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failure("The server can't be reached. Is it still running?", 0);
  }
}

/** @param {string} path */
const address = (path) => new URL(path, document.baseURI).href;

/**
 * @param {any} reply
 * @param {Response} response
 * @returns {string}
 */
function said(reply, response) {
  const words = reply?.error?.message ?? reply?.message ?? reply?.detail;
  const message = typeof words === "string" ? words : `The server answered ${response.status} ${response.statusText}.`;
  const wait = Number(response.headers.get("Retry-After"));
  return wait > 0 ? `${message} (In ${wait} s there may be room.)` : message;
}

/**
 * The request as a command for a POSIX shell; the key stays out of it.
 * @param {string} path
 * @param {object} body
 */
export function curl(path, body) {
  const parts = [`curl ${quoted(address(path))}`, `-H 'Content-Type: application/json'`];
  if (key()) parts.push('-H "Authorization: Bearer $HEADGATE_API_KEY"');
  parts.push(`-d ${quoted(JSON.stringify(body))}`);
  return parts.join(" \\\n  ");
}

/** @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
