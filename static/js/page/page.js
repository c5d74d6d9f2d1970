// @ts-check
/** Set every page up: start the theme, and forget the tab's session at a logout. */
import { forgetSession } from "../client/session.js";
import { startTheme } from "./theme.js";

startTheme();
document.querySelector("form[data-logout]")?.addEventListener("submit", forgetSession);
