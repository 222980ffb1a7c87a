//! Which articles a run answers about: the one asked for, and the others beside it.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::article::{self, Article};
use super::hotfix::KB943650;
use super::load::Loaded;

/// One article that is answered about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArticleKind {
    /// KB943650, which has its own observers.
    Defect,
    /// One that a rule file describes.
    Article(Box<Cow<'static, Article>>),
}

impl ArticleKind {
    /// Its number or name.
    pub fn kb(&self) -> &str {
        match self {
            ArticleKind::Defect => KB943650.kb,
            ArticleKind::Article(entry) => &entry.kb,
        }
    }
}

/// The articles of a run.
#[derive(Clone, Debug)]
pub struct Articles {
    /// The one that `hotfix` is about.
    pub main: ArticleKind,
    /// The articles that `other_articles` is about, in order.
    pub others: Vec<ArticleKind>,
    /// Names the knowledge: the embedded edition, or, with rule files, a hash over both.
    pub version: String,
}

impl Default for Articles {
    fn default() -> Articles {
        Articles {
            main: ArticleKind::Defect,
            others: Vec::new(),
            version: super::VERSION.to_owned(),
        }
    }
}

impl Articles {
    /// The articles named, the first of them as the main one, and every one that was loaded.
    ///
    /// # Errors
    /// A line for a person when a name is not known.
    pub fn new(names: &[String], loaded: Loaded) -> Result<Articles, String> {
        let version = version(&loaded);
        let mut asked: Vec<ArticleKind> = Vec::new();
        for name in names {
            let article = find(name, &loaded.articles)?;
            if !asked.contains(&article) {
                asked.push(article);
            }
        }
        let loaded = loaded
            .articles
            .into_iter()
            .map(|e| ArticleKind::Article(Box::new(Cow::Owned(e))));
        let defect = std::iter::once(ArticleKind::Defect);
        if asked.is_empty() {
            asked.push(ArticleKind::Defect);
        }
        for article in defect.chain(loaded) {
            if !asked.contains(&article) {
                asked.push(article);
            }
        }
        let main = asked.remove(0);
        Ok(Articles {
            main,
            others: asked,
            version,
        })
    }

    /// The names of all, the main one first.
    pub fn names(&self) -> Vec<&str> {
        std::iter::once(&self.main)
            .chain(&self.others)
            .map(ArticleKind::kb)
            .collect()
    }
}

/// The article of that name: the user's own before an embedded one.
fn find(name: &str, loaded: &[Article]) -> Result<ArticleKind, String> {
    if article::same(name, KB943650.kb) {
        return Ok(ArticleKind::Defect);
    }
    if let Some(own) = loaded.iter().find(|e| article::same(&e.kb, name)) {
        return Ok(ArticleKind::Article(Box::new(Cow::Owned(own.clone()))));
    }
    if let Some(known) = article::embedded()
        .iter()
        .find(|e| article::same(&e.kb, name))
    {
        return Ok(ArticleKind::Article(Box::new(Cow::Borrowed(known))));
    }
    let mut known = vec![KB943650.kb];
    known.extend(loaded.iter().map(|e| e.kb.as_ref()));
    known.extend(article::embedded().iter().map(|e| e.kb.as_ref()));
    known.dedup();
    let short: String = name.chars().take(60).collect();
    Err(format!(
        "no article {short:?}: known are {}; --knowledge DIR adds others",
        known.join(", ")
    ))
}

fn version(loaded: &Loaded) -> String {
    if loaded.sources.is_empty() {
        return super::VERSION.to_owned();
    }
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    add(super::VERSION);
    for (name, text) in &loaded.sources {
        add(name);
        add(text);
    }
    let digest: String = hash
        .finalize()
        .iter()
        .take(4)
        .map(|b| format!("{b:02x}"))
        .collect();
    let edition = super::VERSION.split('+').next().unwrap_or_default();
    format!("{edition}+sha256:{digest}")
}
