// What HTML alone cannot do: local times, copy buttons, dialogs, the colour switch. Every page works without it.

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const sameYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const otherYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

function localise(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const near = at.getFullYear() === new Date().getFullYear();
    element.textContent = (near ? sameYear : otherYear).format(at);
    element.title = full.format(at);
  }
}

const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

// Times in charts: the start of a bar's period, and what it shows.
function localiseCharts(root) {
  for (const element of root.querySelectorAll("[data-hour]")) {
    const start = hour.format(new Date(element.dataset.hour));
    element.textContent = element.dataset.more ? `${start}\n${element.dataset.more}` : start;
  }
}

const actions = {
  theme() {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try { localStorage.setItem("theme", next); } catch { /* private mode: the choice lasts for this page */ }
  },
  dismiss(button) { button.closest(".toast").remove(); },
  open(button) { document.getElementById(button.dataset.target).showModal(); },
  close(button) { button.closest("dialog").close(); },
  async copy(button) {
    const text = document.getElementById(button.dataset.target).textContent.trim();
    const label = button.querySelector("span") ?? button;
    const before = label.textContent;
    label.textContent = (await copied(text)) ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { label.textContent = before; }, 1600);
  },
};

async function copied(text) {
  try { await navigator.clipboard.writeText(text); return true; } catch { return false; }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  if (button) actions[button.dataset.action](button);
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

document.addEventListener("change", (event) => {
  if (event.target.matches("form[data-autosubmit] select:not([data-with])")) event.target.form.requestSubmit();
});

// Filters that were left empty stay out of the address, and so does what only goes with them (data-with names it).
document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-autosubmit]")) return;
  const timed = [...event.target.querySelectorAll("[type=datetime-local]")].some((field) => field.value);
  const alone = (field) => field.dataset.with && !event.target.elements[field.dataset.with].value;
  for (const field of event.target.elements) {
    field.disabled = field.name !== "" && (field.value === "" || ("zone" in field.dataset && !timed) || alone(field));
  }
});
addEventListener("pageshow", () => {
  for (const field of document.querySelectorAll("form[data-autosubmit] :disabled")) field.disabled = false;
});

// A page in the background does not ask for news.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden) event.preventDefault();
});
document.addEventListener("htmx:load", (event) => { localise(event.target); localiseCharts(event.target); });

for (const field of document.querySelectorAll("[data-zone]")) field.value = Intl.DateTimeFormat().resolvedOptions().timeZone;
document.querySelector(".side [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
localise(document);
localiseCharts(document);
