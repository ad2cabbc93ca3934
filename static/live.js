// The page Live: the stream of what happens, as rows of one table. Newest first, bounded, filtered here.

(() => {
  const ROWS = 300;
  const RETRY = [1000, 2000, 5000, 10000];

  const feed = document.getElementById("feed");
  const body = feed.querySelector("tbody");
  const filter = document.getElementById("feed-filter");
  const state = document.getElementById("feed-state");
  const rowTemplate = document.getElementById("feed-row");
  const gapTemplate = document.getElementById("feed-gap");
  const seen = { channel: new Set(), status: new Set() };

  let source = null;
  let last = "";
  let failures = 0;
  let began = false;
  let paused = false;
  let ended = "";
  let arrived = []; // newest last; what is not shown yet
  let drawing = false;

  const address = (name, id) => feed.dataset[name].replace("ID", encodeURIComponent(id));
  const NAMES = { receivers: "receiver", groups: "group", addresses: "address" };
  const counted = (many, count) => `${count} ${count === 1 ? NAMES[many] : many}`;

  // What each kind of event shows: {verb, title, link, under, status, colour, reason, channels, who}.
  const kinds = {
    request: (event) => ({
      verb: event.method, title: event.path, link: address("request", event.id), under: event.id,
      status: String(event.status), colour: event.status < 400 ? "delivered" : event.status < 500 ? "deferred" : "failed",
      reason: [event.code, `${event.ms ?? 0} ms`].filter(Boolean).join(", "), channels: [], who: event.key_name || event.key_prefix,
    }),
    message: (event) => ({
      verb: "message", title: event.message, link: address("message", event.message),
      under: `to ${Object.entries(event.to).map(([many, count]) => counted(many, count)).join(", ")}`,
      status: "accepted", colour: "accepted", channels: event.channels, who: "",
    }),
    delivery: (event) => ({
      verb: "delivery", title: event.receiver?.startsWith("addr:") ? "Plain address" : event.receiver ?? event.delivery, link: address("delivery", event.delivery), under: event.message,
      status: event.type.split(".")[1], colour: event.status, reason: event.reason, channels: [event.channel], who: "",
    }),
    connection: (event) => ({
      verb: "connection", title: event.receiver, under: "",
      status: event.type.split(".")[1], colour: event.type.endsWith("disconnected") ? "off" : "on", channels: [event.channel], who: "",
    }),
    address: (event) => ({
      verb: "address", title: event.receiver, under: event.address,
      status: event.type.split(".")[1], colour: event.type.endsWith("active") ? "active" : "failing", reason: event.reason, channels: [event.channel], who: "",
    }),
  };

  function rowOf(event) {
    const kind = event.type.split(".")[0];
    const shown = kinds[kind](event);
    const row = rowTemplate.content.firstElementChild.cloneNode(true);
    const [what, status, channels, who, when] = row.cells;
    what.querySelector(".verb").textContent = shown.verb;
    const link = what.querySelector("a");
    link.textContent = shown.title;
    if (shown.link) link.href = shown.link;
    what.querySelector(".under").textContent = shown.under;
    status.querySelector(".badge").textContent = shown.status;
    status.querySelector(".badge").classList.add(`status-${shown.colour}`);
    status.querySelector(".under").textContent = shown.reason ?? "";
    for (const name of shown.channels) {
      const chip = document.createElement("span");
      chip.className = "chip";
      chip.textContent = name;
      channels.firstElementChild.append(chip);
    }
    const mode = who.querySelector(".chip");
    if (event.mode) { mode.textContent = event.mode; mode.classList.add(event.mode); } else mode.remove();
    who.querySelector(".break").textContent = shown.who;
    when.firstElementChild.dateTime = row.dataset.at = event.at;
    row.dataset.kind = kind;
    row.dataset.mode = event.mode ?? "";
    row.dataset.channel = shown.channels.join(" ");
    row.dataset.status = shown.status;
    row.dataset.text = [event.id, event.message, event.delivery, event.idempotency_key, event.receiver, ...[...row.cells].map((cell) => cell.textContent)].join(" ").toLowerCase();
    for (const name of shown.channels) offer("channel", name);
    offer("status", shown.status);
    localise(row);
    return row;
  }

  // A choice for each channel and status that was seen.
  function offer(name, value) {
    if (seen[name].has(value)) return;
    seen[name].add(value);
    const options = filter.elements[name];
    const after = [...options.options].slice(1).find((option) => option.value > value);
    options.insertBefore(new Option(value, value), after ?? null);
  }

  function fits(row) {
    const asked = Object.fromEntries(new FormData(filter));
    return (!asked.kind || row.dataset.kind === asked.kind)
      && (!asked.mode || !row.dataset.mode || row.dataset.mode === asked.mode)
      && (!asked.channel || row.dataset.channel.split(" ").includes(asked.channel))
      && (!asked.status || row.dataset.status === asked.status)
      && (!asked.text || row.dataset.text.includes(asked.text.trim().toLowerCase()));
  }

  function sift() {
    for (const row of body.rows) if (row.dataset.kind) row.hidden = !fits(row);
    tell();
  }

  function draw() {
    drawing = false;
    if (paused) { tell(); return; }
    const rows = arrived.map((event) => (event === null ? gapTemplate.content.firstElementChild.cloneNode(true) : rowOf(event)));
    arrived = [];
    for (const row of rows) {
      if (row.dataset.kind) row.hidden = !fits(row);
      place(row);
    }
    while (body.rows.length > ROWS) body.lastElementChild.remove();
    tell();
  }

  // What happened earlier comes a little later at times: it goes below what is newer, but over no gap.
  function place(row) {
    let below = body.firstElementChild;
    while (row.dataset.at && below?.dataset.at > row.dataset.at) below = below.nextElementSibling;
    body.insertBefore(row, below);
  }

  function add(event) {
    arrived.push(event);
    if (arrived.length > ROWS) arrived = arrived.slice(-ROWS);
    if (!drawing) { drawing = true; requestAnimationFrame(draw); }
  }

  function tell() {
    const any = body.rows.length > 0;
    feed.querySelector("table").hidden = !any;
    feed.querySelector(".empty").hidden = any;
    const hidden = [...body.rows].filter((row) => row.hidden).length;
    const words = ended ? [ended] : [source?.readyState === EventSource.OPEN ? (paused ? "Paused" : "Follows what happens") : "Cut: connects again"];
    if (paused && arrived.length) words.push(`${arrived.length === ROWS ? "the newest " : ""}${arrived.length} waiting`);
    if (hidden) words.push(`${hidden} hidden by the filters`);
    const text = words.join(", ");
    if (state.textContent !== text) state.textContent = text;
    state.classList.toggle("pulse", !paused && !ended && source?.readyState === EventSource.OPEN);
  }

  function hear(said) {
    if (said.lastEventId) last = said.lastEventId;
    const event = JSON.parse(said.data);
    if (event.type === "welcome") {
      failures = 0;
      if (began && !event.recovered) add(null);
      began = true;
      tell();
    } else if (event.type === "error") {
      if (!["restarting", "store_unavailable", "too_slow", "too_many_streams"].includes(event.code)) stop(event.detail);
    } else if (kinds[event.type.split(".")[0]]) add(event);
  }

  function stop(why) {
    ended = why;
    source.close();
    tell();
  }

  function connect() {
    const query = last ? `?last=${encodeURIComponent(last)}` : "";
    source = new EventSource(feed.dataset.events + query);
    source.onmessage = hear;
    source.onopen = tell;
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED && !ended) {
        // A browser gives up on a refusal; a server that restarts refuses for a moment.
        setTimeout(connect, RETRY[Math.min(failures, RETRY.length - 1)]);
        failures += 1;
      }
      tell();
    };
    tell();
  }

  actions.pause = (button) => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    button.querySelector("span").textContent = paused ? "Go on" : "Pause";
    draw();
  };
  actions.clear = () => { body.replaceChildren(); arrived = []; tell(); };
  filter.addEventListener("input", sift);
  filter.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => { if (event.persisted && !ended) connect(); });
  connect();
})();
