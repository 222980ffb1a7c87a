//! Saved output of `netsh interface ipv4 show global` in the languages Windows 6.0 shipped in.
//!
//! The output is a table of names and values below a line of dashes. Names and the words for on and off are
//! translated; some values are the command's own words and are not: the row behind the one that says
//! `version1` to `version3` is multicast forwarding in every language. The words are those of Windows'
//! own translations.

use encoding_rs::{
    BIG5, EUC_KR, Encoding, GBK, IBM866, SHIFT_JIS, WINDOWS_874, WINDOWS_1250, WINDOWS_1251,
    WINDOWS_1252, WINDOWS_1253, WINDOWS_1254, WINDOWS_1255, WINDOWS_1256, WINDOWS_1257,
};

/// The languages whose words are known, for people.
pub const LANGUAGES: &str = "Arabic, Bulgarian, Chinese, Croatian, Czech, Danish, Dutch, English, \
    Estonian, Finnish, French, German, Greek, Hebrew, Hungarian, Italian, Japanese, Korean, Latvian, \
    Lithuanian, Norwegian, Polish, Portuguese, Romanian, Russian, Serbian, Slovak, Slovenian, Spanish, \
    Swedish, Thai, Turkish, Ukrainian";

/// Words for a setting that is on, in lower case.
const ENABLED: &[&str] = &[
    "enabled",
    "aktiviert",
    "activé",
    "activée",
    "habilitado",
    "habilitada",
    "activado",
    "activada",
    "ativado",
    "ativada",
    "abilitato",
    "abilitata",
    "abilitati",
    "attivato",
    "attivata",
    "ingeschakeld",
    "aktiverad",
    "aktiverat",
    "aktiveret",
    "aktivert",
    "käytössä",
    "otettu käyttöön",
    "włączone",
    "włączony",
    "włączona",
    "povoleno",
    "povolené",
    "povolený",
    "zapnuto",
    "zapnuté",
    "engedélyezve",
    "engedélyezett",
    "bekapcsolva",
    "включено",
    "включен",
    "включена",
    "разрешено",
    "разрешен",
    "увімкнуто",
    "увімкнено",
    "дозволено",
    "активирано",
    "omogućeno",
    "omogućen",
    "uključeno",
    "omogočeno",
    "omogočen",
    "lubatud",
    "iespējots",
    "iespējota",
    "įgalinta",
    "įgalintas",
    "įjungta",
    "activat",
    "activată",
    "etkin",
    "etkinleştirildi",
    "ενεργοποιημένο",
    "ενεργοποιημένη",
    "ενεργό",
    "מופעל",
    "מופעלת",
    "זמין",
    "ممكن",
    "ممكّن",
    "تمكين",
    "有効",
    "사용",
    "사용함",
    "启用",
    "已启用",
    "啟用",
    "已啟用",
    "เปิดใช้งาน",
    "เปิดการใช้งาน",
    "เปิดใช้งานแล้ว",
];
/// Words for one that is off.
const DISABLED: &[&str] = &[
    "disabled",
    "deaktiviert",
    "désactivé",
    "désactivée",
    "deshabilitado",
    "deshabilitada",
    "desactivado",
    "desactivada",
    "desabilitado",
    "desabilitada",
    "desativado",
    "desativada",
    "disabilitato",
    "disabilitata",
    "disabilitati",
    "disattivato",
    "disattivata",
    "uitgeschakeld",
    "inaktiverad",
    "inaktiverat",
    "deaktiveret",
    "deaktivert",
    "ei käytössä",
    "poissa käytöstä",
    "poistettu käytöstä",
    "wyłączone",
    "wyłączony",
    "wyłączona",
    "zakázáno",
    "zakázané",
    "zakázaný",
    "zakázaný",
    "vypnuto",
    "vypnuté",
    "letiltva",
    "letiltott",
    "kikapcsolva",
    "отключено",
    "отключен",
    "отключена",
    "выключено",
    "запрещено",
    "запрещен",
    "вимкнуто",
    "вимкнено",
    "заборонено",
    "забранено",
    "забранен",
    "деактивирано",
    "изключено",
    "onemogućeno",
    "onemogućen",
    "isključeno",
    "onemogočeno",
    "onemogočen",
    "keelatud",
    "atspējots",
    "atspējota",
    "išjungta",
    "išjungtas",
    "dezactivat",
    "dezactivată",
    "devre dışı",
    "devre dışı bırakıldı",
    "απενεργοποιημένο",
    "απενεργοποιημένη",
    "ανενεργό",
    "מושבת",
    "לא זמין",
    "לא פעיל",
    "معطل",
    "معطّل",
    "تعطيل",
    "無効",
    "사용 안 함",
    "사용 안함",
    "사용안함",
    "禁用",
    "已禁用",
    "停用",
    "已停用",
    "已關閉",
    "ปิดใช้งาน",
    "ปิดการใช้งาน",
    "ปิดใช้งานแล้ว",
];
/// What names multicast in a row's name, in lower case.
const MULTICAST: &[&str] = &[
    "multicast",
    "multidiff",
    "multidifus",
    "difusão seletiva",
    "multikast",
    "multiemis",
    "multiedast",
    "multiraid",
    "vícesměr",
    "viacsmer",
    "višesmjer",
    "višesmer",
    "večvrst",
    "ryhmälähet",
    "monilähet",
    "csoportos küldés",
    "csoportcím",
    "многоадрес",
    "багатоадрес",
    "мултикаст",
    "マルチキャスト",
    "멀티캐스트",
    "多播",
    "多路广播",
    "多点播送",
    "組播",
    "组播",
    "多點傳",
    "群播",
    "çok noktaya",
    "çoklu yayın",
    "πολλαπλή",
    "πολυεκπομπ",
    "πολυδιανομ",
    "לקבוצ",
    "רב-שידור",
    "רב שידור",
    "المتعدد",
    "มัลติคาสต",
    "หลายผู้รับ",
    "daugiaadres",
];

/// Longest row that a message shows, in characters.
const LONGEST_ROW: usize = 80;
/// Bytes of a text that are looked at, which a refusal says.
const LONGEST_TEXT: usize = 1024 * 1024;
/// Bytes that are tried in code pages: a table takes some 2 KB, a transcript holds a few.
const LONGEST_GUESSED: usize = 256 * 1024;

/// Code pages of Windows and of consoles that the file can be in, where it is no UTF.
static CODE_PAGES: [&Encoding; 14] = [
    IBM866,
    WINDOWS_1251,
    SHIFT_JIS,
    GBK,
    BIG5,
    EUC_KR,
    WINDOWS_1252,
    WINDOWS_1250,
    WINDOWS_1253,
    WINDOWS_1254,
    WINDOWS_1255,
    WINDOWS_1256,
    WINDOWS_1257,
    WINDOWS_874,
];

/// What tables of netsh say: a file may hold several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Whether multicast forwarding of IPv4 is on; `None` where neither words nor the order of rows tell.
    pub ipv4: Option<bool>,
    /// Whether multicast forwarding of IPv6 is on; `None` as above.
    pub ipv6: Option<bool>,
    /// Two tables of one family say the opposite: neither is believed.
    pub contradictory: bool,
    /// The row about multicast forwarding, where its value is in no word that is known.
    pub unread: Option<String>,
}

impl Tables {
    fn tell(&self) -> bool {
        self.ipv4.is_some() || self.ipv6.is_some() || self.contradictory
    }
}

/// Reads a text of any encoding; `None` when it is no such table. `text` is what its bytes say as UTF.
pub fn read(bytes: &[u8], text: &str) -> Option<Tables> {
    let text = text.get(..text.floor_char_boundary(LONGEST_TEXT))?;
    let mut tables = of_text(text);
    let tell = |tables: &Option<Tables>| tables.as_ref().is_some_and(Tables::tell);
    if tell(&tables) || std::str::from_utf8(bytes).is_ok() {
        return tables;
    }
    let bytes = bytes.get(..LONGEST_GUESSED).unwrap_or(bytes);
    for page in CODE_PAGES {
        let (decoded, _) = page.decode_without_bom_handling(bytes);
        let found = of_text(&decoded);
        if tell(&found) {
            return found;
        }
        tables = tables.or(found);
    }
    tables
}

fn of_text(text: &str) -> Option<Tables> {
    let text = text.to_lowercase();
    let rows: Vec<Row> = rows(&text);
    let stems = Stems::of(&text);
    let dashed = text.lines().any(|line| {
        let line = line.trim();
        line.len() >= 5 && line.chars().all(|c| c == '-')
    });
    let named: Vec<&Row> = rows.iter().filter(|row| stems.are_in(&row.name)).collect();
    let mut telling: Vec<&Row> = named
        .iter()
        .copied()
        .filter(|row| switch(&row.value).is_some())
        .collect();
    // Languages whose word for multicast is not known: the row behind the version of MLD or IGMP.
    if telling.is_empty() {
        let pairs = rows.iter().zip(rows.iter().skip(1));
        telling.extend(pairs.filter_map(|(row, next)| is_version(&row.value).then_some(next)));
        telling.retain(|row| switch(&row.value).is_some());
    }
    let is_table = !telling.is_empty() || (dashed && !rows.is_empty());
    let mut tables = Tables::default();
    for row in &telling {
        let known = match row.ipv6 {
            true => &mut tables.ipv6,
            false => &mut tables.ipv4,
        };
        let value = switch(&row.value);
        tables.contradictory |= known.is_some() && *known != value;
        *known = value;
    }
    if tables.contradictory {
        (tables.ipv4, tables.ipv6) = (None, None);
    }
    if let (true, Some(row)) = (telling.is_empty(), named.first()) {
        let shown = format!("{}: {}", row.name, row.value);
        tables.unread = Some(shown.chars().take(LONGEST_ROW).collect());
    }
    is_table.then_some(tables)
}

/// A row of a table, in lower case.
struct Row {
    name: String,
    value: String,
    /// The last command before it was about IPv6. The output names no family; a transcript with the command does.
    ipv6: bool,
}

/// The rows of all tables.
fn rows(text: &str) -> Vec<Row> {
    const COLONS: [char; 2] = [':', '：'];
    let mut ipv6 = false;
    let mut row = |line: &str| {
        if line.contains("show global") {
            ipv6 = line.contains("ipv6 show global");
            return None;
        }
        let (name, value) = line.split_once(COLONS)?;
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        (!name.is_empty() && !value.is_empty()).then_some(Row { name, value, ipv6 })
    };
    text.lines().filter_map(&mut row).collect()
}

/// The words for multicast that a text can hold: few of all are looked for in each row.
struct Stems {
    /// As they are.
    whole: Vec<&'static str>,
    /// Those that letters which are not legible can stand for.
    guessed: Vec<Vec<char>>,
}

impl Stems {
    fn of(text: &str) -> Stems {
        let stems = || MULTICAST.iter().copied();
        let guessed = stems().filter(|stem| is_guessed_at(text, stem));
        Stems {
            whole: stems().filter(|stem| text.contains(stem)).collect(),
            guessed: guessed.map(|stem| stem.chars().collect()).collect(),
        }
    }

    fn are_in(&self, name: &str) -> bool {
        if self.whole.iter().any(|stem| name.contains(stem)) {
            return true;
        }
        if self.guessed.is_empty() || !name.contains(char::REPLACEMENT_CHARACTER) {
            return false;
        }
        let letters: Vec<char> = name.chars().collect();
        self.guessed.iter().any(|stem| {
            letters.windows(stem.len().max(1)).any(|window| {
                let mut pairs = window.iter().copied().zip(stem.iter().copied());
                pairs.all(stands_for)
            })
        })
    }
}

fn is_version(value: &str) -> bool {
    matches!(value, "version1" | "version2" | "version3")
}

/// What a value says.
fn switch(value: &str) -> Option<bool> {
    let value = value.trim_end_matches(['.', '\0']);
    let says = |words: &[&str]| words.iter().any(|word| same_legibly(value, word));
    match (says(ENABLED), says(DISABLED)) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        _ => None,
    }
}

/// True for the same words; a letter of another code page, which no Unicode text has, stands for one that is
/// no ASCII letter. At least half of the word has to be legible.
fn same_legibly(text: &str, word: &str) -> bool {
    text == word
        || (is_guessed_at(text, word)
            && text.chars().count() == word.chars().count()
            && text.chars().zip(word.chars()).all(stands_for))
}

/// Some letters of the text are not legible, and half of the word would be.
fn is_guessed_at(text: &str, word: &str) -> bool {
    let legible = word.bytes().filter(u8::is_ascii).count();
    2 * legible >= word.chars().count() && text.contains(char::REPLACEMENT_CHARACTER)
}

fn stands_for((letter, of_word): (char, char)) -> bool {
    letter == of_word || (letter == char::REPLACEMENT_CHARACTER && !of_word.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_means_both() {
        for word in ENABLED {
            assert_eq!(switch(word), Some(true), "{word}");
        }
        for word in DISABLED {
            assert_eq!(switch(word), Some(false), "{word}");
        }
    }

    #[test]
    fn a_table_behind_a_long_transcript_is_read() {
        let text = format!(
            "{}Multicast Forwarding                 : disabled\n",
            "C:\\> dir\n".repeat(LONGEST_GUESSED / 4)
        );
        let tables = read(text.as_bytes(), &text).unwrap();
        assert_eq!((tables.ipv4, tables.contradictory), (Some(false), false));
    }

    #[test]
    fn words_are_in_lower_case() {
        for word in ENABLED.iter().chain(DISABLED).chain(MULTICAST) {
            assert_eq!(*word, word.to_lowercase());
        }
    }
}
