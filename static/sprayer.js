// A receiver's inbox in a browser: over WebSocket, SSE or long poll, every message once and in order.
//
//   const inbox = new Sprayer({ url: "https://push.example.com", tokenProvider: () => askOwnServerForToken() });
//   inbox.on("message", (message) => show(message.content));
//   inbox.connect();
//
// This is a classic script that defines globalThis.Sprayer; sprayer.mjs is the same as an ES module; sprayer.d.ts has
// the types. No dependencies, nothing inline, no eval.

"use strict";

(() => {
  /** Milliseconds. */
  const TIMINGS = {
    connect: 10_000, // for a transport to say welcome, and for the token provider to answer
    ping: 25_000,
    pong: 5_000,
    silence: 45_000, // longest pause in a stream, whose server sends comments in between
    backoff: 500, // the first one's upper bound; doubles
    backoffMost: 30_000,
    stable: 10_000, // a connection that lasts as long makes earlier failures forgotten
    restart: 1_000, // upper bound of the wait when the server says that it restarts
    crowded: 30_000, // lower bound of the wait when there are too many connections
    upgrade: 60_000, // until a better transport is tried again; doubles
    upgradeMost: 960_000,
    ack: 100,
    poll: 30_000,
  };
  const ACK_EVERY = 50;
  const REMEMBERED = 1_000;
  const PATIENCE = 3; // failures until a transport that has worked here is given up; another one gets one try
  const REFRESH_LEAD = 60_000;
  const REFRESH_LEAST = 1_000;
  const CLOSE_CODES = {
    1008: "slow", // too many frames of ours: it takes a pause, too
    1013: "unavailable",
    4001: "token",
    4003: "forbidden",
    4008: "slow",
    4009: "replaced",
    4012: "restarting",
    4029: "crowded",
  };
  const STATUSES = { 401: "token", 429: "crowded", 503: "unavailable" };
  /** What an error frame or a problem document says, where there is no close code. */
  const ERRORS = {
    missing_token: "token",
    invalid_token: "token",
    token_expired: "token",
    origin_not_allowed: "forbidden",
    too_slow: "slow",
    too_fast: "slow",
    too_many_connections: "crowded",
    restarting: "restarting",
    unavailable: "unavailable",
  };
  const FATAL = {
    forbidden: "This page may not connect: its origin is not allowed.",
    replaced: "Another connection has taken this one's place.",
  };

  /** Offsets of one epoch grow: decimal numbers without leading zeros, of any length. */
  const isAfter = (offset, other) =>
    offset.length === other.length ? offset > other : offset.length > other.length;

  const within = (limit, promise) => {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${limit} ms`)), limit);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
  };

  /** Named timeouts: setting one again replaces it. */
  class Timers {
    #running = new Map();

    set(name, milliseconds, action) {
      this.clear(name);
      this.#running.set(name, setTimeout(() => { this.#running.delete(name); action(); }, milliseconds));
    }

    has(name) { return this.#running.has(name); }

    clear(name) {
      clearTimeout(this.#running.get(name));
      this.#running.delete(name);
    }

    clearAll() { for (const name of [...this.#running.keys()]) this.clear(name); }
  }

  /** A map that forgets what was set longest ago. */
  class Recent extends Map {
    set(key, value) {
      this.delete(key);
      super.set(key, value);
      if (this.size > REMEMBERED) this.delete(this.keys().next().value);
      return this;
    }
  }

  /** One connection over one transport. Its link hears welcomed, received and told, and once ended. */
  class Session {
    welcomed = false;
    over = false;
    reason = undefined; // of the end, where the server has said it
    timers = new Timers();

    constructor(link, token, place) {
      this.link = link;
      this.token = token;
      this.place = place;
    }

    get name() { return this.constructor.transport; }

    start() {
      this.timers.set("connect", this.link.timings.connect, () => this.end("lost"));
      this.open();
    }

    hear(frame) {
      if (this.over) return;
      if (frame.type === "welcome") this.welcome(frame);
      else if (frame.type === "message") this.link.received(this, frame);
      else if (frame.type === "error") this.fail(frame);
    }

    welcome(frame) {
      this.timers.clear("connect");
      this.welcomed = true;
      this.link.welcomed(this, frame);
    }

    fail({ code, detail }) {
      this.reason = ERRORS[code];
      this.link.told({ code, detail });
    }

    end(why, retryAfter) {
      if (this.over) return;
      this.stop();
      this.link.ended(this, this.reason ?? why, retryAfter);
    }

    stop() {
      this.over = true;
      this.timers.clearAll();
    }

    url(path, query) {
      const url = new URL(`api/v1/${path}`, this.link.root);
      for (const [name, value] of Object.entries(query ?? {})) url.searchParams.set(name, value);
      return url;
    }
  }

  class SocketSession extends Session {
    static transport = "websocket";
    #socket;
    #placed = false;
    #said = []; // offsets of reads, which a pong that was asked for later confirms
    #asked = [];

    open() {
      const url = this.url("realtime", { token: this.token });
      url.protocol = url.protocol.replace("http", "ws");
      try {
        this.#socket = new WebSocket(url);
      } catch (error) {
        // Not available here, or ws: in a page of https:.
        this.link.told({ code: "transport_unavailable", detail: String(error) });
        return this.end("lost");
      }
      this.#socket.onopen = () => { if (this.place) this.#say("resume", this.place); };
      this.#socket.onmessage = ({ data }) => this.hear(JSON.parse(data));
      this.#socket.onclose = ({ code }) => this.end(CLOSE_CODES[code] ?? "lost");
    }

    stop() {
      super.stop();
      this.#socket?.close(1000);
    }

    /** Asks for a sign of life; the end where none comes. */
    check(networkChanged) {
      if (!this.welcomed && networkChanged) this.end("moved");
      if (!this.welcomed || this.timers.has("pong")) return;
      this.#say("ping");
      this.#asked.push(...this.#said.splice(0));
      this.timers.set("pong", this.link.timings.pong, () => this.end("lost"));
      this.timers.set("ping", this.link.timings.ping, () => this.check());
    }

    ack({ offset }) { this.#say("ack", { offset }); }

    read({ offset }) {
      this.#say("read", { offset });
      this.#said.push(offset);
    }

    hear(frame) {
      this.timers.clear("pong");
      if (frame.type === "pong") this.link.arrived(this.#asked.splice(0));
      else if (this.#placed || frame.type === "error" || !this.#isEarly(frame)) super.hear(frame);
    }

    welcome(frame) {
      this.#placed = true;
      super.welcome(frame);
      if (!this.over && !this.timers.has("ping")) this.timers.set("ping", this.link.timings.ping, () => this.check());
    }

    #say(type, fields) {
      if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ type, ...fields }));
    }

    /** A server that heard our resume late has begun at its own default: what counts comes with the next welcome. */
    #isEarly({ type, epoch, offset, recovered }) {
      return type !== "welcome" || (recovered && epoch === this.place?.epoch && offset !== this.place.offset);
    }
  }

  /** What SSE and long poll share: requests with the token, and acknowledgements as requests of their own. */
  class RequestSession extends Session {
    #abort = new AbortController();
    #outbox = new Map();
    #posting = false;

    open() {
      this.run().catch((error) => {
        // The network's failure, an answer that is not the server's, or our own abort.
        if (![TypeError, SyntaxError, DOMException].some((kind) => error instanceof kind)) throw error;
        this.end("lost");
      });
    }

    stop() {
      super.stop();
      this.#abort.abort();
    }

    /** Nothing can be asked on a running request: begin another one where the network has changed. */
    check(networkChanged) { if (networkChanged) this.end("moved"); }

    ack(place) { this.#post("ack", "ack", place); }

    read(place) { this.#post(place.offset, "read", place); }

    request(path, query, headers) {
      return fetch(this.url(path, query), {
        headers: { Authorization: `Bearer ${this.token}`, ...headers },
        signal: this.#abort.signal,
        cache: "no-store",
        credentials: "omit",
      });
    }

    async refused(answer) {
      if (answer.headers.get("Content-Type")?.includes("json")) this.fail(await answer.json());
      this.end(STATUSES[answer.status] ?? "lost", 1000 * Number(answer.headers.get("Retry-After")) || 0);
    }

    /** What is not yet there is sent until it is or the session ends; the next session says it again. */
    async #post(key, kind, place) {
      this.#outbox.set(key, [kind, place]);
      if (this.#posting) return;
      this.#posting = true;
      while (this.#outbox.size > 0) {
        const [next, letter] = this.#outbox.entries().next().value;
        if (await this.#posted(...letter)) {
          if (this.#outbox.get(next) === letter) this.#outbox.delete(next);
        } else if (!this.over) {
          await new Promise((resolve) => setTimeout(resolve, this.link.timings.backoff));
        } else {
          break;
        }
      }
      this.#posting = false;
    }

    async #posted(kind, place) {
      try {
        // It goes out although the page is left: no header that another origin would have to ask for first.
        const answer = await fetch(this.url(`inbox/${kind}`, { token: this.token }), {
          method: "POST",
          body: JSON.stringify(place),
          keepalive: true,
          credentials: "omit",
        });
        if (answer.ok && kind === "read") this.link.arrived([place.offset]);
        return answer.status < 500 && answer.status !== 429;
      } catch (error) {
        if (error instanceof TypeError) return false;
        throw error;
      }
    }
  }

  class StreamSession extends RequestSession {
    static transport = "sse";

    async run() {
      const query = this.place ?? {};
      const answer = await this.request("inbox/stream", query, { Accept: "text/event-stream" });
      if (!answer.ok) return this.refused(answer);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        this.timers.set("silence", this.link.timings.silence, () => this.end("lost"));
        const { value, done } = await reader.read();
        if (done) return this.end("lost");
        const events = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
        rest = events.pop();
        for (const event of events) {
          const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5));
          if (data.length > 0) this.hear(JSON.parse(data.join("\n")));
        }
      }
    }
  }

  class PollSession extends RequestSession {
    static transport = "longpoll";

    /** The next request says it. */
    ack() {}

    async run() {
      for (let place = this.place, wait = 0; !this.over; wait = this.link.timings.poll / 1000) {
        this.timers.set("silence", (wait * 1000) + this.link.timings.connect, () => this.end("lost"));
        const answer = await this.request("inbox", { ...place, ...this.link.connection(), wait });
        if (!answer.ok) return this.refused(answer);
        const { epoch, offset, recovered, messages } = await answer.json();
        if (this.over) return;
        const begin = messages.length > 0 ? "" : offset;
        if (!this.welcomed || epoch !== place.epoch || !recovered) this.welcome({ epoch, offset: begin, recovered });
        for (const message of messages) this.hear(message);
        this.link.reached(this, offset);
        place = { epoch, offset };
      }
    }
  }

  const TRANSPORTS = { websocket: SocketSession, sse: StreamSession, longpoll: PollSession };

  class Sprayer {
    #options;
    #listeners = new Map();
    #timers = new Timers();
    #link;
    #page = null;
    #state = "closed";
    #through = null;
    #turn = 0;
    #session = null;
    #spare = null; // a second connection that takes over once it is welcomed

    #token = null;
    #asking = null;
    #refusals = 0;

    #tries = 0;
    #failures = new Map();
    #worked = new Set();
    #blocked = new Set();
    #upgradeAfter;

    #receiver = null;
    #connection = null;
    #place = null; // listeners have everything up to here
    #acked = ""; // offsets in the epoch of #place
    #reads = new Set(); // not known to have arrived
    #unsent = 0;
    #ids = new Recent();
    #versions = new Recent();

    constructor(options = {}) {
      this.#options = {
        transports: Object.keys(TRANSPORTS),
        ack: "auto",
        storage: "none",
        ...options,
        timings: { ...TIMINGS, ...options.timings },
      };
      const { token, tokenProvider, transports } = this.#options;
      const url = String(this.#options.url ?? globalThis.location?.origin ?? "");
      if (!url) throw new TypeError("url is missing: the address of the Sprayer server");
      if (!token && !tokenProvider) throw new TypeError("token or tokenProvider is missing");
      const unknown = transports.filter((name) => !(name in TRANSPORTS));
      if (unknown.length > 0 || transports.length === 0) throw new TypeError(`unknown transports: ${unknown}`);
      const root = new URL(url.endsWith("/") ? url : `${url}/`, globalThis.location?.href);
      this.#options.storageKey ??= `sprayer:${root}`;
      this.#link = {
        root,
        timings: this.#options.timings,
        welcomed: (session, frame) => this.#welcomed(session, frame),
        received: (session, frame) => this.#received(session, frame),
        connection: () => this.#connection && { connection: this.#connection },
        reached: (session, offset) => this.#reached(session, offset),
        arrived: (offsets) => { for (const offset of offsets) this.#reads.delete(offset); },
        told: (problem) => this.#emit("error", { ...problem, fatal: false }),
        ended: (session, why, retryAfter) => this.#ended(session, why, retryAfter),
      };
      this.#upgradeAfter = this.#options.timings.upgrade;
      this.#load();
    }

    get state() { return this.#state; }
    get transport() { return this.#state === "connected" ? this.#session.name : null; }
    get receiver() { return this.#receiver; }
    get connection() { return this.#connection; }
    get position() { return this.#place && { ...this.#place }; }

    on(type, listener) {
      if (!this.#listeners.has(type)) this.#listeners.set(type, new Set());
      this.#listeners.get(type).add(listener);
      return () => this.off(type, listener);
    }

    off(type, listener) { this.#listeners.get(type)?.delete(listener); }

    connect() {
      if (this.#state !== "closed") return;
      this.#watchPage();
      this.#tries = this.#refusals = 0;
      this.#dial();
    }

    close() { this.#stop(); }

    ack(at) {
      const offset = this.#offsetOf(at);
      if (offset === null || !isAfter(offset, this.#acked)) return;
      this.#acked = offset;
      this.#unsent += 1;
      if (this.#unsent >= ACK_EVERY || this.#state === "closed") this.#flush();
      else if (!this.#timers.has("ack")) this.#timers.set("ack", this.#options.timings.ack, () => this.#flush());
    }

    read(at) {
      const offset = this.#offsetOf(at);
      if (offset === null) return;
      this.#reads.add(offset);
      if (this.#session?.welcomed) this.#session.read({ epoch: this.#place.epoch, offset });
    }

    async history({ before, limit } = {}) {
      const url = new URL("api/v1/inbox/history", this.#link.root);
      if (before !== undefined) url.searchParams.set("before", before);
      if (limit !== undefined) url.searchParams.set("limit", limit);
      const headers = { Authorization: `Bearer ${await this.#currentToken()}` };
      const answer = await fetch(url, { headers, cache: "no-store", credentials: "omit" });
      if (!answer.ok) throw new Error(`the history answered ${answer.status}: ${await answer.text()}`);
      const { messages, ...page } = await answer.json();
      return { ...page, messages: messages.map(({ type, ...message }) => ({ epoch: page.epoch, ...message })) };
    }

    /** Of a message or an offset; null where it is not of this epoch. */
    #offsetOf(at) {
      const { epoch, offset } = typeof at === "string" ? { ...this.#place, offset: at } : at;
      return epoch === this.#place?.epoch && !isAfter(offset, this.#place.offset) ? offset : null;
    }

    // Connecting

    async #dial() {
      const turn = ++this.#turn;
      this.#timers.clear("retry");
      this.#enter("connecting");
      try {
        const token = await this.#currentToken();
        if (turn === this.#turn) this.#open(this.#best(), token);
      } catch (error) {
        if (turn !== this.#turn) return;
        this.#emit("error", { code: "token_unavailable", detail: String(error), fatal: false });
        this.#retry(this.#backoff());
      }
    }

    #open(name, token) {
      this.#session = new TRANSPORTS[name](this.#link, token, this.position);
      this.#session.start();
    }

    /** Without a gap and without a pause: the connection at hand stays until this one is welcomed. */
    #openSpare(name, token) {
      this.#spare?.stop();
      this.#spare = new TRANSPORTS[name](this.#link, token, this.position);
      this.#spare.start();
    }

    #best() { return this.#options.transports.find((name) => !this.#blocked.has(name)); }

    #welcomed(session, frame) {
      if (session === this.#spare) {
        this.#session?.stop();
        this.#session = session;
        this.#spare = null;
      }
      if (session !== this.#session) return;
      const known = frame.epoch === this.#place?.epoch;
      if (!known) {
        this.#place = { epoch: frame.epoch, offset: frame.offset };
        this.#acked = frame.offset;
        this.#reads.clear();
        this.#save();
      } else if (isAfter(frame.offset, this.#place.offset)) {
        this.#place.offset = frame.offset; // what was between is gone
      }
      this.#receiver = frame.receiver ?? this.#receiver;
      this.#worked.add(session.name);
      this.#blocked.delete(session.name);
      this.#timers.set("stable", this.#options.timings.stable, () => this.#isStable(session.name));
      this.#planUpgrade();
      this.#enter("connected");
      const { epoch, recovered, connection = this.#connection } = frame;
      this.#connection = connection;
      this.#emit("welcome", { epoch, recovered, connection, receiver: this.#receiver, transport: session.name });
      if (!recovered) this.#emit("gap", { epoch });
      if (session !== this.#session || !known) return;
      // What was said on an earlier connection may have been lost with it.
      this.#flush();
      for (const offset of [...this.#reads]) session.read({ epoch, offset });
    }

    #isStable(name) {
      this.#tries = this.#refusals = 0;
      this.#failures.delete(name);
    }

    #ended(session, why, retryAfter) {
      if (why === "token") this.#token = null;
      if (session === this.#spare) {
        this.#spare = null;
        this.#planUpgrade(session.name);
      } else if (session === this.#session) {
        this.#timers.clear("stable");
        this.#timers.clear("upgrade");
        this.#session = this.#spare;
        this.#spare = null;
        if (this.#session) this.#enter("connecting");
        else this.#again(session.name, why, retryAfter);
      }
    }

    #again(name, why, retryAfter = 0) {
      const { restart, crowded } = this.#options.timings;
      if (why in FATAL) {
        this.#stop({ code: why, detail: FATAL[why] });
      } else if (why === "token" && !this.#options.tokenProvider) {
        this.#stop({ code: "bad_token", detail: "The token does not hold any more, and there is no tokenProvider." });
      } else if (why === "token") {
        this.#retry(this.#refusals++ > 0 ? this.#backoff() : 0);
      } else if (why === "restarting") {
        this.#retry(Math.random() * restart);
      } else if (why === "crowded") {
        this.#retry(Math.max(retryAfter, crowded) * (1 + Math.random()), true);
      } else if (why === "lost" && this.#givesWay(name)) {
        this.#retry(0);
      } else {
        this.#retry(retryAfter + this.#backoff());
      }
    }

    /** Whether a transport that does not work here leaves its place to the next one. */
    #givesWay(name) {
      if (this.#isOffline) return false;
      const failures = (this.#failures.get(name) ?? 0) + 1;
      this.#failures.set(name, failures);
      if (failures < (this.#worked.has(name) ? PATIENCE : 1)) return false;
      this.#blocked.add(name);
      if (this.#best()) return true;
      // None works: it is not the transports.
      this.#blocked.clear();
      this.#failures.clear();
      return false;
    }

    #backoff() {
      const { backoff, backoffMost } = this.#options.timings;
      return Math.random() * Math.min(backoffMost, backoff * 2 ** this.#tries++);
    }

    #retry(delay, patient = false) {
      if (this.#isOffline) {
        this.#enter("offline");
        delay = this.#options.timings.backoffMost; // the browser may be wrong about that
      } else if (delay > 0) {
        this.#enter("waiting", delay);
      }
      this.#timers.clear("patience");
      if (patient) this.#timers.set("patience", delay, () => {});
      this.#timers.set("retry", delay, () => this.#dial());
    }

    /** A better transport than the one at hand is tried beside it, the best first. */
    #planUpgrade(failed) {
      const { transports, timings } = this.#options;
      const better = transports.slice(0, transports.indexOf(this.#session?.name));
      if (!this.#session || better.length === 0) {
        this.#timers.clear("upgrade");
        this.#upgradeAfter = timings.upgrade;
        return;
      }
      const next = better.includes(failed) && better[better.indexOf(failed) + 1];
      if (next) {
        this.#timers.set("upgrade", 0, () => this.#upgrade(next));
        return;
      }
      this.#timers.set("upgrade", this.#upgradeAfter, () => this.#upgrade(better[0]));
      this.#upgradeAfter = Math.min(timings.upgradeMost, this.#upgradeAfter * 2);
    }

    #upgrade(name) { if (this.#token) this.#openSpare(name, this.#token); }

    #stop(fatal) {
      if (this.#state === "closed") return;
      this.#flush();
      this.#turn += 1;
      this.#timers.clearAll();
      this.#page.abort();
      if (this.#options.tokenProvider) this.#token = null;
      const sessions = [this.#session, this.#spare];
      this.#session = this.#spare = null;
      for (const session of sessions) session?.stop();
      this.#enter("closed");
      if (fatal) this.#emit("error", { ...fatal, fatal: true });
    }

    // The page around us

    get #isOffline() { return globalThis.navigator?.onLine === false; }

    #watchPage() {
      this.#page = new AbortController();
      const listen = (target, type, action) =>
        target?.addEventListener?.(type, action, { signal: this.#page.signal });
      listen(globalThis, "online", () => {
        this.#blocked.clear();
        this.#tries = 0;
        this.#revive(true);
      });
      listen(globalThis, "offline", () => this.#session?.check(true));
      listen(globalThis, "pagehide", () => this.#flush());
      listen(globalThis.document, "visibilitychange", () => {
        if (document.visibilityState === "visible") this.#revive(false);
        else this.#flush();
      });
    }

    /** Someone looks, or the network is back: find out now whether the connection lives, or connect now. */
    #revive(networkChanged) {
      if (this.#session) this.#session.check(networkChanged);
      else if (this.#timers.has("retry") && !this.#timers.has("patience")) this.#dial();
    }

    // Tokens

    #currentToken() {
      if (this.#token) return Promise.resolve(this.#token);
      const ask = async () => {
        const { token, tokenProvider } = this.#options;
        if (tokenProvider) this.#options.token = null; // a first token is good once
        return this.#keepToken(token ?? (await tokenProvider()));
      };
      this.#asking ??= within(this.#options.timings.connect, ask()).finally(() => { this.#asking = null; });
      return this.#asking;
    }

    #keepToken(given) {
      const { token, expires_at: expiresAt } = typeof given === "string" ? { token: given } : given;
      const left = Date.parse(expiresAt) - Date.now();
      // Not positive: this machine's clock is wrong. The server says when the token has expired.
      if (left > 0 && this.#options.tokenProvider && this.#state !== "closed") {
        const delay = Math.max(REFRESH_LEAST, left - Math.min(REFRESH_LEAD, left / 5));
        this.#timers.set("refresh", delay, () => this.#refresh(token));
      }
      this.#token = token;
      return token;
    }

    async #refresh(old) {
      try {
        this.#token = null;
        const token = await this.#currentToken();
        if (token !== old && this.#session) this.#openSpare(this.#session.name, token);
      } catch (error) {
        this.#token ??= old;
        this.#emit("error", { code: "token_unavailable", detail: String(error), fatal: false });
      }
    }

    // Messages

    #received(session, frame) {
      if (session !== this.#session || !isAfter(frame.offset, this.#place.offset)) return;
      const before = this.#place.offset;
      this.#place.offset = frame.offset;
      const fresh = this.#isFresh(frame);
      if (fresh) {
        const { type, ...message } = frame;
        this.#emit("message", { epoch: this.#place.epoch, ...message });
      }
      // What listeners never see they cannot acknowledge.
      if (this.#options.ack === "auto" || (!fresh && this.#acked === before)) this.ack(frame.offset);
    }

    #reached(session, offset) {
      if (session === this.#session && isAfter(offset, this.#place.offset)) this.#place.offset = offset;
    }

    /** Not known from an earlier epoch, and not older than what its collapse key has already brought. */
    #isFresh({ id, collapse_key: key, version }) {
      if (this.#ids.has(id)) return false;
      this.#ids.set(id, true);
      if (key === undefined || version === undefined) return true;
      if (this.#versions.has(key) && version < this.#versions.get(key)) return false;
      this.#versions.set(key, version);
      return true;
    }

    #flush() {
      this.#timers.clear("ack");
      this.#unsent = 0;
      this.#save();
      if (this.#acked && this.#session?.welcomed) this.#session.ack({ epoch: this.#place.epoch, offset: this.#acked });
    }

    // What outlives the page

    get #storage() {
      const { storage } = this.#options;
      if (storage === "none") return null;
      return typeof storage === "string" ? globalThis[`${storage}Storage`] : storage;
    }

    #load() {
      try {
        const { epoch, offset } = JSON.parse(this.#storage?.getItem(this.#options.storageKey) ?? "{}");
        if (typeof epoch !== "string" || typeof offset !== "string" || !offset) return;
        this.#place = { epoch, offset };
        this.#acked = offset;
      } catch {
        // Unreadable is as good as none; where the storage itself does not work, saving will say so.
      }
    }

    #save() {
      if (!this.#acked) return;
      try {
        const kept = { epoch: this.#place.epoch, offset: this.#acked };
        this.#storage?.setItem(this.#options.storageKey, JSON.stringify(kept));
      } catch (error) {
        this.#options.storage = "none";
        this.#emit("error", { code: "storage_unavailable", detail: String(error), fatal: false });
      }
    }

    #enter(state, retryIn) {
      const [previous, earlier] = [this.#state, this.#through];
      this.#state = state;
      this.#through = this.transport;
      if (state === previous && this.#through === earlier) return;
      this.#emit("state", { state, previous, transport: this.#through, retryIn });
    }

    #emit(type, event) {
      for (const listener of [...(this.#listeners.get(type) ?? [])]) {
        try {
          listener(event);
        } catch (error) {
          // The page's mistake: reported as such, and no message is lost over it.
          queueMicrotask(() => { throw error; });
        }
      }
    }
  }

  globalThis.Sprayer = Sprayer;
})();
