// Subscribes this browser and tells the application's own server, which holds the API key, about it.

const status = document.getElementById("status");
const subscribeButton = document.getElementById("subscribe");
const sendButton = document.getElementById("send");
const shown = document.getElementById("subscription");

function bytes(base64url) {
  const text = atob(base64url.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
}

async function subscribe() {
  if ((await Notification.requestPermission()) !== "granted") throw new Error("Notifications are not allowed.");
  const registration = await navigator.serviceWorker.ready;
  const key = bytes(await (await fetch("key")).text());
  const subscription = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  shown.textContent = JSON.stringify(subscription, null, 2);
  await post("subscription", subscription);
  sendButton.disabled = false;
  status.textContent = "Subscribed.";
}

async function send() {
  await post("message", { title: "Hello", body: "This notification came through Sprayer." });
  status.textContent = "Sent.";
}

function run(action) {
  return () => action().catch((error) => (status.textContent = error.message));
}

async function start() {
  if (!("serviceWorker" in navigator) || !("PushManager" in window)) throw new Error("This browser has no Web Push.");
  await navigator.serviceWorker.register("service-worker.js");
  await navigator.serviceWorker.ready;
  subscribeButton.disabled = false;
  status.textContent = "Ready.";
}

subscribeButton.addEventListener("click", run(subscribe));
sendButton.addEventListener("click", run(send));
run(start)();
