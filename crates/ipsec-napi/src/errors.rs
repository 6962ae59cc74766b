//! Rust errors to stable codes: the only place of codes in Rust. docs/errors.md has them all.

use ipsec_gateway::GatewayError;
use ipsec_host as host;
use ipsec_io::OpenError;
use napi_derive::napi;

/// A verb failed: a stable code and a sentence.
#[napi(object)]
#[derive(Clone, Debug)]
pub struct NativeError {
    pub code: String,
    pub message: String,
}

impl NativeError {
    pub fn new(code: &str, message: impl ToString) -> Self {
        Self {
            code: code.to_owned(),
            message: message.to_string(),
        }
    }

    pub fn closed() -> Self {
        Self::new("IPSEC_ERR_CLOSED", "the datapath is closed")
    }
}

impl From<GatewayError> for NativeError {
    fn from(error: GatewayError) -> Self {
        match error {
            GatewayError::Open(error) => error.into(),
            GatewayError::Host(error) => error.into(),
            error => {
                let code = match &error {
                    GatewayError::SaExists(_) => "IPSEC_ERR_SA_EXISTS",
                    GatewayError::NoSuchSa(_) => "IPSEC_ERR_SA_UNKNOWN",
                    GatewayError::NoSuchEntry(_) => "IPSEC_ERR_SPD_ENTRY_UNKNOWN",
                    GatewayError::NoSocket(_) | GatewayError::NoReservation(_) => {
                        "IPSEC_ERR_SA_INVALID"
                    }
                    GatewayError::Spd(_) => "IPSEC_ERR_SPD_INVALID",
                    GatewayError::TooManyAddresses(_) | GatewayError::NotOurPort(_) => {
                        "IPSEC_ERR_USAGE"
                    }
                    GatewayError::Closed => "IPSEC_ERR_CLOSED",
                    _ => "IPSEC_ERR_HOST",
                };
                Self::new(code, error)
            }
        }
    }
}

impl From<OpenError> for NativeError {
    fn from(error: OpenError) -> Self {
        let (OpenError::Tun { source, .. } | OpenError::Socket { source, .. }) = &error;
        let code = match (source.kind(), &error) {
            (std::io::ErrorKind::PermissionDenied, _) => "IPSEC_ERR_PRIVILEGE_MISSING",
            (std::io::ErrorKind::AddrInUse, _) => "IPSEC_ERR_ADDRESS_IN_USE",
            (_, OpenError::Tun { .. }) => "IPSEC_ERR_DEVICE_UNAVAILABLE",
            _ => "IPSEC_ERR_HOST",
        };
        Self::new(code, error)
    }
}

impl From<host::Error> for NativeError {
    fn from(error: host::Error) -> Self {
        let code = if error.is_permission_denied() {
            "IPSEC_ERR_PRIVILEGE_MISSING"
        } else {
            "IPSEC_ERR_HOST"
        };
        Self::new(code, error)
    }
}
