const token = new URLSearchParams(location.search).get("token") ?? "";
// It is good once, and need not stay in the browser's history.
history.replaceState(null, "", location.pathname);

const action = location.pathname.split("/").at(-1);
const form = document.getElementById(action);
const done = document.getElementById("done");
const refusal = document.getElementById("refusal");
const DONE = {
  "verify-email": "Thank you: your address is confirmed. You can log in now.",
  "reset-password": "Your new password is set. Log in with it.",
};

function reasons({ detail, field_errors: faults = [] }) {
  if (faults.some(({ field }) => field === "token")) {
    return "This link has been used, or is too old. Ask for another one.";
  }
  return faults.map(({ message }) => message).join(". ") || detail;
}

form.hidden = false;
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  refusal.textContent = "";
  try {
    const answer = await fetch(location.pathname, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token, ...Object.fromEntries(new FormData(form)) }),
    });
    if (answer.ok) {
      form.hidden = true;
      done.textContent = DONE[action];
    } else {
      refusal.textContent = reasons(await answer.json());
    }
  } catch {
    refusal.textContent = "The service does not answer. Try again.";
  } finally {
    button.disabled = false;
  }
});
