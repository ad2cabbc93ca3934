// Shows what Sprayer pushes, and opens its page on a click.

self.addEventListener("push", (event) => {
  const message = event.data ? event.data.json() : {};
  const options = {
    body: message.body,
    icon: message.icon,
    badge: message.badge,
    image: message.image,
    // A message that arrives twice replaces itself instead of showing twice.
    tag: message.tag || message.id,
    actions: (message.actions || []).map(({ action, title, icon }) => ({ action, title, icon })),
    timestamp: message.sent_at ? Date.parse(message.sent_at) : Date.now(),
    data: message,
  };
  event.waitUntil(self.registration.showNotification(message.title || "New message", options));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const message = event.notification.data;
  const chosen = (message.actions || []).find(({ action }) => action === event.action);
  event.waitUntil(show(new URL((chosen && chosen.url) || message.url || ".", self.registration.scope).href));
});

async function show(url) {
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const page = pages.find((candidate) => candidate.url === url);
  return page ? page.focus() : self.clients.openWindow(url);
}
