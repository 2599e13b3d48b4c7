//! `static` of `[routes]`: routes by hand, in the words of `ip route`. In the files of both daemons.

use super::edit::{add_text, remove_texts};
use super::{ConfigEdit, ConfigError, ConfigSource};
use l2link::route_text::RouteText;
use toml::Spanned;
use toml_edit::Table;

/// Reads the list.
///
/// # Errors
/// For words that are no route, and a route that is there twice.
pub fn static_routes(
    words: &[Spanned<String>],
    source: &ConfigSource,
) -> Result<Vec<RouteText>, ConfigError> {
    let mut routes: Vec<RouteText> = Vec::new();
    for text in words {
        let error = |message: String| source.error_at(text.span(), message);
        let route = RouteText::parse(text.get_ref()).map_err(|why| error(why.to_string()))?;
        let same = |known: &&RouteText| known.key() == route.key() && known.netns == route.netns;
        if let Some(known) = routes.iter().find(same) {
            let message = format!("a second route {}: \"{known}\" is one already", route.key());
            return Err(error(message).help("give it another metric"));
        }
        routes.push(route);
    }
    Ok(routes)
}

/// Writes a route into a file. `first` is what a new section `[routes]` begins with.
///
/// # Errors
/// If `routes` is written in a form that cannot be changed.
pub fn save_route(
    edit: &mut ConfigEdit,
    route: &RouteText,
    first: impl FnOnce(&mut Table),
) -> Result<(), ConfigError> {
    remove_route(edit, route);
    add_text(edit.section("routes", first)?, "static", &route.to_string());
    Ok(())
}

/// Removes a route from a file. Returns whether it was there.
pub fn remove_route(edit: &mut ConfigEdit, route: &RouteText) -> bool {
    let same = |text: &str| {
        RouteText::parse(text).is_ok_and(|known| known.key() == route.key() && known.netns == route.netns)
    };
    edit.existing_section("routes").is_some_and(|table| remove_texts(table, "static", same) > 0)
}
