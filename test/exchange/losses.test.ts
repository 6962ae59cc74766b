/**
 * Every schedule of losses of every exchange: each of the first six datagrams is delivered, dropped,
 * doubled, overtaken or so late that it was sent again. Whatever happens, both sides agree in the end,
 * nothing is left of what was under way, and where an SA was up all the time no packet is lost.
 *
 * `npm run test:losses` explores deeper, and runs schedules of the same outcome too.
 */
import { describeEverySchedule } from './every-schedule.js';
import { EXCHANGES } from './loss-scenarios.js';

describeEverySchedule('every schedule of losses', EXCHANGES);
