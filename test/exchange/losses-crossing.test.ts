/** The same for two exchanges that cross: a file of its own, since it takes as long as all others. */
import { describeEverySchedule } from './every-schedule.js';
import { CROSSINGS } from './loss-scenarios.js';

describeEverySchedule('every schedule of losses of exchanges that cross', CROSSINGS);
