// One receiver's inbox, and a box that sends. The API key stays with serve.py: the page gets tokens only.

const receiver = new URLSearchParams(location.search).get("receiver") ?? "alice";
const status = document.getElementById("status");
const messages = document.getElementById("messages");

async function ask(path, body) {
  const answer = await fetch(path, body && { method: "POST", body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
  return answer.json();
}

function show(text) {
  const line = document.createElement("li");
  line.textContent = text;
  messages.append(line);
}

async function send(event) {
  event.preventDefault();
  const { to, text } = event.target.elements;
  try {
    await ask("message", { to: to.value.split(",").map((name) => name.trim()), text: text.value });
    text.value = "";
  } catch (error) {
    status.textContent = error.message;
  }
}

document.getElementById("receiver").textContent = receiver;
document.getElementById("send").addEventListener("submit", send);

const { url } = await ask("config");
const { Sprayer } = await import(`${url}/static/sprayer.mjs`);
const inbox = new Sprayer({
  url,
  tokenProvider: () => ask(`token?receiver=${encodeURIComponent(receiver)}`),
  storage: "session",
});
inbox.on("message", (message) => show(message.content.body));
inbox.on("gap", () => show("(messages may be missing here)"));
inbox.on("state", ({ state, transport }) => {
  status.textContent = transport ? `${state}: ${transport}` : state;
});
inbox.on("error", ({ code, detail }) => console.warn(`${code}: ${detail}`));
inbox.connect();
