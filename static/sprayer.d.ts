/** Types of sprayer.js (globalThis.Sprayer) and sprayer.mjs. Times are milliseconds unless they say otherwise. */

export type TransportName = "websocket" | "sse" | "longpoll";

/** closed: not started, or over; waiting: for the next try; offline: the browser says that there is no network. */
export type State = "closed" | "connecting" | "connected" | "waiting" | "offline";

/** A position in an inbox. Opaque: keep it and pass it back unchanged. */
export interface Position {
  epoch: string;
  offset: string;
}

export interface Message extends Position {
  id: string;
  content: { type?: string; title?: string; body?: string; data?: unknown; [name: string]: unknown };
  /** RFC 3339, UTC. */
  sent_at: string;
  group?: string;
  collapse_key?: string;
  version?: number;
  /** Sent with a test key. */
  test?: true;
}

/** The answer of POST /api/v1/receivers/{receiver}/tokens. With expires_at a token is replaced before it expires. */
export interface TokenAnswer {
  token: string;
  /** RFC 3339. */
  expires_at?: string;
}

export interface Timings {
  /** For a transport to say welcome, and for tokenProvider to answer. 10,000. */
  connect: number;
  /** Between two pings. 25,000. */
  ping: number;
  /** For the pong to come. 5,000. */
  pong: number;
  /** Longest silence of a stream. 45,000. */
  silence: number;
  /** Upper bound of the first wait before another try; doubles with each. 500. */
  backoff: number;
  /** Where it stops doubling. 30,000. */
  backoffMost: number;
  /** How long a connection must last for earlier failures to be forgotten. 10,000. */
  stable: number;
  /** Upper bound of the wait while the server restarts. 1,000. */
  restart: number;
  /** Lower bound of the wait where there are too many connections. 30,000. */
  crowded: number;
  /** Until a better transport is tried again; doubles with each failure. 60,000. */
  upgrade: number;
  /** Where that stops doubling. 960,000. */
  upgradeMost: number;
  /** Acknowledgements are sent together after this time, or 50 at once. 100. */
  ack: number;
  /** How long one long poll waits, in whole seconds. 30,000. */
  poll: number;
}

export interface SprayerOptions {
  /** The Sprayer server. Default: the page's own origin. */
  url?: string | URL;
  /** A first token, or the only one. */
  token?: string | TokenAnswer;
  /** Asks your own server, which holds the API key, for a new token. */
  tokenProvider?: () => string | TokenAnswer | Promise<string | TokenAnswer>;
  /** What to use, the best first. Default: websocket, sse, longpoll. */
  transports?: TransportName[];
  /**
   * auto: after its listeners have returned a message counts as arrived. manual: call ack(); over long poll asking for
   * more acknowledges all the same. Default: auto.
   */
  ack?: "auto" | "manual";
  /** Where the position outlives the page. local is shared by all tabs. Default: none. */
  storage?: "none" | "session" | "local" | Pick<Storage, "getItem" | "setItem">;
  /** Name one for each receiver where several use one browser. */
  storageKey?: string;
  timings?: Partial<Timings>;
}

export interface SprayerEvents {
  /** A connection has begun, or the inbox has a new epoch. */
  welcome: {
    epoch: string;
    recovered: boolean;
    connection: string | null;
    receiver: string | null;
    transport: TransportName;
  };
  message: Message;
  /** Messages may be missing before the next one: read the history. */
  gap: { epoch: string };
  state: { state: State; previous: State; transport: TransportName | null; retryIn?: number };
  /** fatal: the client has stopped; connect() begins again. */
  error: { code: string; detail: string; fatal: boolean };
}

export interface History {
  epoch: string;
  /** Newest first. */
  messages: Message[];
  /** Pass it as `before` for older ones; null: there are none. */
  next_before: string | null;
}

export class Sprayer {
  /** Throws TypeError where options are missing or unknown. */
  constructor(options: SprayerOptions);

  readonly state: State;
  /** The one in use while connected. */
  readonly transport: TransportName | null;
  /** Known once connected. */
  readonly receiver: string | null;
  /** The connection's id, for a message's exclude_connection; null before the first one. */
  readonly connection: string | null;
  /** Listeners have everything up to here. */
  readonly position: Position | null;

  /** Answers a function that takes the listener off again. */
  on<Type extends keyof SprayerEvents>(type: Type, listener: (event: SprayerEvents[Type]) => void): () => void;
  off<Type extends keyof SprayerEvents>(type: Type, listener: (event: SprayerEvents[Type]) => void): void;

  connect(): void;
  /** Sends what is still to be acknowledged and ends. */
  close(): void;

  /** Everything up to this message, or offset, has arrived: delivered. Needed with ack: "manual" only. */
  ack(at: Position | string): void;
  /** This message, or the one at this offset, has been read. */
  read(at: Position | string): void;
  /** What the inbox holds, whether it has arrived or not. Rejects where the server does not answer so. */
  history(page?: { before?: string; limit?: number }): Promise<History>;
}

declare global {
  var Sprayer: typeof import("./sprayer.js").Sprayer;
}
