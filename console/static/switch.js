// The one switch over automatic actions. Off at once, with a name; on again only with a reason.

import { decide } from "./decide.js";
import { say, toast } from "./strings.js";

export function listenToSwitch() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-switch]");
    if (!button) return;
    const field = button.closest("[data-switch-form]")?.elements.comment;
    const comment = field?.value.trim() ?? "";
    const automatic = button.dataset.automatic === "true";
    if (automatic && !comment) {
      field.focus();
      toast(say("decide.why"), true);
      return;
    }
    button.disabled = true;
    const told = await decide(button.dataset.switch, { automatic, comment }, automatic ? "done.on" : "done.off");
    button.disabled = told;
    // An empty field is no longer in use, so the section may show the new state.
    if (told && field) field.value = "";
  });
  document.addEventListener("submit", (event) => {
    if (event.target.matches("[data-switch-form]")) event.preventDefault();
  });
}

// Where the keyboard goes for it: the button is reached, and pressed by a second key.
export function focusSwitch() {
  document.querySelector(".strip [data-switch], .strip [data-switch-link]")?.focus();
}
