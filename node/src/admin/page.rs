//! Pages of lists.

use super::error::{AdminError, invalid};
use crate::store::{PageRequest, page::PAGE_LIMIT};

/// Items of a page that asks for 0.
const DEFAULT: usize = 100;

/// What a list asks the store for.
pub(super) fn request(page_size: i32, page_token: &str) -> Result<PageRequest, AdminError> {
    Ok(PageRequest {
        token: (!page_token.is_empty()).then(|| page_token.to_owned()),
        limit: size(page_size)?,
    })
}

/// The size of a page: 1 to 1000, above which it is 1000; 0 is 100.
pub(super) fn size(page_size: i32) -> Result<usize, AdminError> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(DEFAULT),
        Ok(size) => Ok(size.min(PAGE_LIMIT)),
        Err(_) => Err(invalid("page_size", "must not be negative; 0 is 100, the most is 1000")),
    }
}

/// Cuts a page out of a list that is at hand, in the order of a key. The token is the last key of the page before,
/// so that what comes and goes between two pages moves nothing else.
pub(super) fn cut<T>(
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    page_size: i32,
    page_token: &str,
) -> Result<(Vec<T>, String), AdminError> {
    let size = size(page_size)?;
    let mut rest = items.into_iter().skip_while(|item| !page_token.is_empty() && *key(item) <= *page_token);
    let page: Vec<T> = rest.by_ref().take(size).collect();
    let next = match (page.last(), rest.next()) {
        (Some(last), Some(_)) => key(last),
        _ => String::new(),
    };
    Ok((page, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let (page, next) = cut(0..7, u32::to_string, 3, &token).unwrap();
            seen.push(page);
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
    }

    #[test]
    fn an_item_that_is_gone_is_no_obstacle() {
        let (page, next) = cut([1, 2, 4, 5], u32::to_string, 2, "3").unwrap();
        assert_eq!((page, next), (vec![4, 5], String::new()));
    }

    #[test]
    fn a_negative_size_is_refused_and_a_large_one_is_cut() {
        assert!(size(-1).is_err());
        assert_eq!(size(0), Ok(100));
        assert_eq!(size(i32::MAX), Ok(1000));
    }
}
