//! The two MACs over AES-128 that old peers know.

use aes::Aes128;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use cmac::{Cmac, Mac};
use zeroize::Zeroize;

/// AES-CMAC; the key has 16 bytes.
pub fn aes_cmac(key: &[u8], data: &[u8]) -> Option<[u8; 16]> {
    let mut mac = Cmac::<Aes128>::new_from_slice(key).ok()?;
    mac.update(data);
    Some(mac.finalize().into_bytes().into())
}

/// AES-XCBC-MAC before it is cut to 96 bits; the key has 16 bytes.
pub fn aes_xcbc(key: &[u8], data: &[u8]) -> Option<[u8; 16]> {
    let cipher = Aes128::new_from_slice(key).ok()?;
    // RFC 3566 section 4: K1 encrypts, K2 masks a whole last block, K3 a padded one.
    let [mut first, mut whole, mut padded] = [1_u8, 2, 3].map(|number| {
        let mut block = Block::<Aes128>::from([number; 16]);
        cipher.encrypt_block(&mut block);
        block
    });
    let chain = Aes128::new(&first);
    let last_offset = data.len().saturating_sub(1) / 16 * 16;
    let (head, last) = data.split_at(last_offset);
    let mut state = Block::<Aes128>::default();
    for block in head.chunks_exact(16) {
        mix(&mut state, block);
        chain.encrypt_block(&mut state);
    }
    mix(&mut state, last);
    if last.len() == 16 {
        mix(&mut state, &whole);
    } else {
        state[last.len()] ^= 0x80;
        mix(&mut state, &padded);
    }
    chain.encrypt_block(&mut state);
    first.zeroize();
    whole.zeroize();
    padded.zeroize();
    Some(state.into())
}

fn mix(state: &mut [u8], bytes: &[u8]) {
    for (to, from) in state.iter_mut().zip(bytes) {
        *to ^= from;
    }
}
