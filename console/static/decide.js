// Decisions: who, what, why; posted as JSON, and the answer told in words.

import { say, toast } from "./strings.js";

export function personField() {
  const field = document.getElementById("who");
  if (field.type === "hidden") return; // the name is the account's
  if (!field.value) field.value = localStorage.getItem("fabpilot_name") ?? "";
  field.addEventListener("input", () => {
    field.closest(".who").classList.remove("missing");
    const name = field.value.trim();
    localStorage.setItem("fabpilot_name", name);
    document.cookie = `fabpilot_name=${encodeURIComponent(name)}; path=/; max-age=31536000; samesite=strict`;
  });
}

function person() {
  const field = document.getElementById("who");
  const name = field.value.trim();
  if (!name) {
    field.closest(".who").classList.add("missing");
    field.focus();
    toast(say("decide.who"), true);
  }
  return name;
}

// The session has ended: sign in, and come back to this page.
export function signIn() {
  location.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
  return false;
}

export async function decide(url, decision, done = `done.${decision.decision}`) {
  const by = person();
  if (!by) return false;
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf-token": document.body.dataset.csrf },
    body: JSON.stringify({ ...decision, by }),
  }).catch(() => null);
  if (answer?.status === 401) return signIn();
  if (answer?.ok) {
    toast(say(done));
    document.dispatchEvent(new CustomEvent("fabpilot:changed"));
    return true;
  }
  const problem = answer ? await answer.json().catch(() => ({})) : {};
  toast(problem.detail ?? say("failed"), true);
  if (answer?.status === 409) document.dispatchEvent(new CustomEvent("fabpilot:changed"));
  return false;
}

export function listenToDecisions() {
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches("[data-decide]")) return;
    event.preventDefault();
    const decision = event.submitter?.value;
    if (!decision) return;
    const comment = form.elements.comment.value.trim();
    if (["reject", "shelve"].includes(decision) && !comment) {
      form.elements.comment.focus();
      toast(say("decide.why"), true);
      return;
    }
    const body = { decision, comment };
    if (decision === "shelve") body.hours = Number(form.elements.hours.value);
    const buttons = [...form.querySelectorAll("button")];
    for (const button of buttons) button.disabled = true;
    if (!(await decide(form.dataset.decide, body))) for (const button of buttons) button.disabled = false;
  });
}

// Labels and replays: one press, one post. A pattern without a button is named in a field.
export function listenToUpkeep() {
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches("[data-new-pattern]")) return;
    event.preventDefault();
    const pattern = form.elements.pattern.value.trim();
    // An empty field is no longer in use, so the next wafer may take its place.
    if (pattern && await decide(form.closest("[data-label]").dataset.label, { patterns: [pattern] }, "done.label")) form.reset();
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-pattern], [data-replay]");
    if (!button) return;
    button.disabled = true;
    const told = button.dataset.replay
      ? await decide(button.dataset.replay, {}, "done.replay")
      : await decide(button.closest("[data-label]").dataset.label, { patterns: [button.dataset.pattern] }, "done.label");
    button.disabled = told;
  });
}
