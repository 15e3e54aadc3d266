// Asks this page's own server for the page again, and puts the new content in the place of the old one.
"use strict";
const wait = Number(document.body.dataset.seconds) * 1000;
const button = document.getElementById("pause");
const heard = document.getElementById("heard");
const told = document.getElementById("told");
let paused = false;

function opened() {
  return [...document.querySelectorAll("details[open] > summary")].map((one) => one.id);
}

async function renew() {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) throw new Error(`it answers ${answer.status}`);
  const next = new DOMParser().parseFromString(await answer.text(), "text/html");
  const [open, focused] = [opened(), document.activeElement?.id];
  const main = next.getElementById("main");
  for (const id of open) main.querySelector(`#${CSS.escape(id)}`)?.parentElement.setAttribute("open", "");
  document.getElementById("main").replaceWith(main);
  if (focused && focused !== document.activeElement?.id) document.getElementById(focused)?.focus({ preventScroll: true });
  document.title = next.title;
  for (const [here, there] of [[heard, "heard"], [told, "told"]]) {
    const text = next.getElementById(there).textContent;
    if (here.textContent !== text) here.textContent = text;
  }
}

async function turn() {
  if (!paused) {
    try {
      await renew();
    } catch (error) {
      told.textContent = `No answer from multinode dashboard: ${error.message}. What is shown is old.`;
    }
  }
  setTimeout(turn, wait);
}

function toggle() {
  paused = !paused;
  button.textContent = paused ? "Go on (p)" : "Pause (p)";
  button.setAttribute("aria-pressed", String(paused));
}

button.addEventListener("click", toggle);
document.addEventListener("keydown", (event) => {
  if (event.key === "p" && !event.ctrlKey && !event.metaKey && !event.altKey) toggle();
});
setTimeout(turn, wait);
