// What Airflow runs: one component for each of the plugin's places. It looks them up by the names that the plugin gives.

import { Chain } from "./chain.js";
import { Tradewind } from "./pipelines.js";
import { Result } from "./result.js";

Object.assign(globalThis, { Tradewind, Chain, Result });
