// @ts-check
/** What every page of the house does: theme, and forgetting the tab's session on logout. */
import { forgetSession } from "../client/session.js";
import { startTheme } from "./theme.js";

startTheme();
document.querySelector("form[data-logout]")?.addEventListener("submit", forgetSession);
