//! `items.parquet`, `users.parquet`, `taxonomy.parquet`.

use std::path::Path;

use types::{Category, CategoryId, Item, Taxonomy, Timestamp, User};

use super::columns::{Columns, json, read_table, write_table};
use crate::EventsError;

/// Writes the catalogue; row order is kept, so an `ItemId` stays valid.
///
/// # Errors
/// [`EventsError`] when the file cannot be written.
pub fn write_items(path: &Path, items: &[Item]) -> Result<(), EventsError> {
    write_table(path, items, |rows| {
        Columns::default()
            .text("item_id", rows.iter().map(|i| &i.item_id))
            .text("title", rows.iter().map(|i| &i.title))
            .text("category_path", rows.iter().map(|i| &i.category_path))
            .opt_count("category", rows.iter().map(|i| i.category.map(|c| u64::from(c.0))))
            .opt_text("brand", rows.iter().map(|i| i.brand.as_ref()))
            .opt_text("merchant_id", rows.iter().map(|i| i.merchant_id.as_ref()))
            .opt_float("price", rows.iter().map(|i| i.price))
            .opt_time("listed_at", rows.iter().map(|i| i.listed_at))
            .text("attributes", rows.iter().map(|i| json(&i.attributes)))
            .text("description", rows.iter().map(|i| &i.description))
            .batch()
    })
}

/// Reads what [`write_items`] wrote.
///
/// # Errors
/// [`EventsError`] when the file is missing, truncated, or lacks a column.
pub fn read_items(path: &Path) -> Result<Vec<Item>, EventsError> {
    let mut items = Vec::new();
    read_table(path, &mut |batch| {
        let (id, title) = (batch.text("item_id")?, batch.text("title")?);
        let (category_path, category) = (batch.text("category_path")?, batch.count("category")?);
        let (brand, merchant) = (batch.text("brand")?, batch.text("merchant_id")?);
        let (price, listed_at) = (batch.float("price")?, batch.time("listed_at")?);
        let (attributes, description) = (batch.text("attributes")?, batch.text("description")?);
        for row in 0..batch.len() {
            let category = category.opt(row).map(|n| category_id(path, n)).transpose()?;
            items.push(Item {
                item_id: id.get(row)?.to_owned(),
                title: title.get(row)?.to_owned(),
                category_path: category_path.get(row)?.to_owned(),
                category,
                brand: brand.opt_owned(row),
                merchant_id: merchant.opt_owned(row),
                price: price.opt(row),
                listed_at: listed_at.opt(row).map(Timestamp),
                attributes: attributes.json(row)?,
                description: description.get(row)?.to_owned(),
            });
        }
        Ok(())
    })?;
    Ok(items)
}

/// Writes the users and what they said about themselves.
///
/// # Errors
/// [`EventsError`] when the file cannot be written.
pub fn write_users(path: &Path, users: &[User]) -> Result<(), EventsError> {
    write_table(path, users, |rows| {
        Columns::default()
            .text("user_id", rows.iter().map(|u| &u.user_id))
            .text("attributes", rows.iter().map(|u| json(&u.attributes)))
            .batch()
    })
}

/// Reads what [`write_users`] wrote.
///
/// # Errors
/// [`EventsError`] when the file is missing, truncated, or lacks a column.
pub fn read_users(path: &Path) -> Result<Vec<User>, EventsError> {
    let mut users = Vec::new();
    read_table(path, &mut |batch| {
        let (id, attributes) = (batch.text("user_id")?, batch.text("attributes")?);
        for row in 0..batch.len() {
            users
                .push(User { user_id: id.get(row)?.to_owned(), attributes: attributes.json(row)? });
        }
        Ok(())
    })?;
    Ok(users)
}

/// Writes the tree; a row is a `CategoryId`.
///
/// # Errors
/// [`EventsError`] when the file cannot be written.
pub fn write_taxonomy(path: &Path, taxonomy: &Taxonomy) -> Result<(), EventsError> {
    let rows: Vec<usize> = (0..taxonomy.len()).collect();
    let node = |row: &usize| &taxonomy.categories()[*row];
    write_table(path, &rows, |rows| {
        Columns::default()
            .count("id", rows.iter().map(|&r| r as u64))
            .opt_count("parent_id", rows.iter().map(|r| node(r).parent.map(|p| u64::from(p.0))))
            .text("name", rows.iter().map(|r| &node(r).name))
            .text("path", rows.iter().map(|&r| taxonomy.path(CategoryId::from_idx(r))))
            .batch()
    })
}

/// Reads what [`write_taxonomy`] wrote.
///
/// # Errors
/// [`EventsError`] when the file is missing, truncated, lacks a column, or holds a broken tree.
pub fn read_taxonomy(path: &Path) -> Result<Taxonomy, EventsError> {
    let mut nodes = Vec::new();
    read_table(path, &mut |batch| {
        let (parent, name) = (batch.count("parent_id")?, batch.text("name")?);
        for row in 0..batch.len() {
            let parent = parent.opt(row).map(|n| category_id(path, n)).transpose()?;
            nodes.push(Category { name: name.get(row)?.to_owned(), parent });
        }
        Ok(())
    })?;
    Taxonomy::new(nodes)
        .map_err(|e| EventsError::Taxonomy { path: path.to_owned(), detail: e.to_string() })
}

fn category_id(path: &Path, value: u64) -> Result<CategoryId, EventsError> {
    u32::try_from(value).map(CategoryId).map_err(|_| EventsError::Table {
        path: path.to_owned(),
        column: "category".to_owned(),
        detail: format!("{value} is no row of a taxonomy"),
    })
}

#[cfg(test)]
mod tests {
    use types::{CategoryId, Item, Taxonomy, Timestamp, User};

    use super::{read_items, read_taxonomy, read_users, write_items, write_taxonomy, write_users};
    use crate::EventsError;

    #[test]
    fn catalogue_tables_come_back_as_they_went() {
        let dir = tempfile::tempdir().unwrap();
        let full = Item {
            item_id: "鞋-1".to_owned(),
            title: "trail \"boots\", grün".to_owned(),
            category_path: "Sports > Boots".to_owned(),
            category: Some(CategoryId(1)),
            brand: Some("Peak".to_owned()),
            merchant_id: Some("m".to_owned()),
            price: Some(9.5),
            listed_at: Some(Timestamp(-5)),
            attributes: vec![("b".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())],
            description: "two\nlines".to_owned(),
        };
        let bare = Item { item_id: "2".to_owned(), ..Item::default() };
        let items = vec![full, bare];
        let path = dir.path().join("deep/items.parquet");
        write_items(&path, &items).unwrap();
        assert_eq!(read_items(&path).unwrap(), items);

        let users = vec![User {
            user_id: "u".to_owned(),
            attributes: vec![("city".to_owned(), "杭州".to_owned())],
        }];
        let path = dir.path().join("users.parquet");
        write_users(&path, &users).unwrap();
        assert_eq!(read_users(&path).unwrap(), users);

        let taxonomy = Taxonomy::from_paths(["Sports > Boots", "Home"]);
        let path = dir.path().join("taxonomy.parquet");
        write_taxonomy(&path, &taxonomy).unwrap();
        assert_eq!(read_taxonomy(&path).unwrap().categories(), taxonomy.categories());
    }

    #[test]
    fn errors_name_file_and_column() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.parquet");
        write_users(&path, &[User { user_id: "u".to_owned(), attributes: vec![] }]).unwrap();
        let message = read_items(&path).unwrap_err().to_string();
        assert!(message.contains("users.parquet") && message.contains("\"item_id\""), "{message}");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(matches!(read_users(&path), Err(EventsError::Parquet { .. })));
        assert!(read_users(dir.path()).is_err());
    }
}
