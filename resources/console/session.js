// Who is signed in, and what a person is told when something does not work.

import { call, Problem, token } from "./api.js";
import { $ } from "./dom.js";
import { state } from "./state.js";

let signedIn = () => {};

export function onSignIn(work) {
  signedIn = work;
  $("sign-in-form").addEventListener("submit", (event) => { event.preventDefault(); signIn(); });
}

export async function attempt(work, place = $("problem")) {
  try {
    showProblem(null, place);
    return (await work()) ?? true;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status !== 401) showProblem(error, place);
    return undefined;
  }
}

export function attemptQuietly(work) {
  // What fails here is tried again with the next event or the next connection.
  Promise.resolve(work()).catch((error) => {
    if (!(error instanceof Problem)) throw error;
  });
}

export function showProblem(error, place) {
  const words = error?.words ?? {};
  place.hidden = !error;
  place.querySelector("strong").textContent = words.title ?? "";
  place.querySelector("span").textContent = [words.detail, words.hint].filter(Boolean).join(" ");
}

export function showSignIn(error = null) {
  token.forget();
  for (const each of document.querySelectorAll("dialog[open]")) each.close();
  showSignedIn(false);
  showProblem(error, $("problem"));
  $("user-name").focus();
}

function showSignedIn(isSignedIn) {
  $("sign-in").hidden = isSignedIn;
  for (const id of ["columns", "open-access", "open-history", "connection"]) $(id).hidden = !isSignedIn;
}

// --- signing in -----------------------------------------------------------------------------------

export async function useTicket() {
  const ticket = new URLSearchParams(location.hash.slice(1)).get("ticket");
  if (!ticket) return null;
  // Out of the address at once; the open task stays where it is.
  history.replaceState(null, "", state.openId === null ? location.pathname : `#task=${state.openId}`);
  try {
    token.keep((await call("POST", "/api/auth/ticket", { ticket })).token);
    showSignedIn(true);
  } catch (error) {
    return error;
  }
  return null;
}

async function signIn() {
  const body = { username: $("user-name").value.trim(), password: $("password").value };
  try {
    token.keep((await call("POST", "/api/auth/login", body)).token);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    showProblem(error, $("problem"));
    return;
  }
  $("password").value = "";
  showProblem(null, $("problem"));
  showSignedIn(true);
  signedIn();
}
