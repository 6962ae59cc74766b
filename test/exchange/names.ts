/** How additional key exchanges are written. */
export const ADDITIONAL = { mlkem768: 'ke1_mlkem768', mlkem1024: 'ke2_mlkem1024' } as const;
