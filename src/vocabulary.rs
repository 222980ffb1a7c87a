//! Enumerations of the report contract are kebab-case text. Of a closed one the schema gives every value there
//! will be in this version of the contract; of an open-ended one it gives the known values as examples, so that a
//! reader meets a new one without breaking.

/// Declares an enumeration whose schema lists its values under `$key`.
macro_rules! contract_enum {
    ($key:literal; $(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vmeta])* #[serde(rename = $text)] $variant),+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The value as it is written.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            /// The value that `word` is written for; `None` for a word that this version does not know.
            #[cfg_attr(not(feature = "internals"), allow(dead_code))]
            pub fn named(word: &str) -> Option<$name> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", $key: [$($text),+] })
            }
        }
    };
}
pub(crate) use contract_enum;

/// Declares an enumeration that is open-ended in the contract.
macro_rules! open_enum {
    ($($all:tt)*) => { $crate::vocabulary::contract_enum! { "examples"; $($all)* } };
}
pub(crate) use open_enum;

/// Declares an enumeration that is closed in the contract.
macro_rules! closed_enum {
    ($($all:tt)*) => { $crate::vocabulary::contract_enum! { "enum"; $($all)* } };
}
pub(crate) use closed_enum;
