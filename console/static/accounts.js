// For administrators: one press or one choice, one post.

import { decide } from "./decide.js";

export function listenToAccounts() {
  const put = (name, change, done) => decide(`/api/v1/accounts/${encodeURIComponent(name)}`, change, done);
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-account], [data-revoke]");
    if (!button) return;
    button.disabled = true;
    const { account, disabled, revoke } = button.dataset;
    if (revoke) await decide(`/api/v1/tokens/${revoke}/revoke`, {}, "done.revoke");
    else await put(account, { disabled: disabled === "true" }, disabled === "true" ? "done.disable" : "done.enable");
    button.disabled = false;
  });
  document.addEventListener("change", async (event) => {
    const field = event.target.closest("[data-role-of]");
    if (!field) return;
    if (!(await put(field.dataset.roleOf, { role: field.value }, "done.role"))) field.value = field.dataset.was;
    else field.dataset.was = field.value;
  });
}
