/** The native classes of library mode: the only importer of the native module in this folder. */
export {
  dropReasonNames,
  NativeInboundSa,
  NativeOutboundSa,
  NativeReplayWindow,
  type NativeSa,
  type NativeSelector,
  NativeSpd,
  type NativeSpdEntry,
} from '../../native/index.js';
