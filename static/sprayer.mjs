import "./sprayer.js";

export const { Sprayer } = globalThis;
