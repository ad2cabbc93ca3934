export * from "./sprayer.js";
