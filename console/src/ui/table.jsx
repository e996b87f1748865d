// A table that sorts by any column, and draws only so many rows as a person can read.
import {useMemo, useState} from "preact/hooks";
import {memo} from "./memo.js";

const STEP = 100;

// *columns*: {name, title, of(entry) for sorting, show(entry, id), number: bool, wide: bool}; *rows*: [[id, entry], ...].
export function Table({label, columns, rows, first = columns[0].name, context}) {
  const [order, setOrder] = useState({by: first, down: columns.find((each) => each.name === first)?.number === true});
  const [most, setMost] = useState(STEP);
  const sorted = useMemo(() => sortedBy(rows, columns.find((each) => each.name === order.by), order.down), [rows, order]);
  const press = (column) => setOrder({by: column.name, down: order.by === column.name ? !order.down : column.number === true});
  return <div class="scroll" tabIndex={0} role="region" aria-label={label}>
    <table>
      <caption class="hidden">{label}</caption>
      <thead><tr>{columns.map((each) => <th key={each.name} scope="col" class={each.number ? "number" : ""} aria-sort={order.by === each.name ? (order.down ? "descending" : "ascending") : undefined}>
        {each.of ? <button type="button" class="sort" onClick={() => press(each)}>{each.title}<span aria-hidden="true">{order.by === each.name ? (order.down ? " ↓" : " ↑") : ""}</span></button> : each.title}
      </th>)}</tr></thead>
      <tbody>{sorted.slice(0, most).map(([id, entry]) => <Row key={id} id={id} entry={entry} columns={columns} context={context?.(id)} />)}</tbody>
    </table>
    {sorted.length > most && <p class="more"><button type="button" onClick={() => setMost(most + STEP)}>Show {Math.min(STEP, sorted.length - most)} more of {sorted.length}</button></p>}
  </div>;
}

const Row = memo(({id, entry, columns, context}) => <tr data-id={id}>
  {columns.map((each, at) => {
    const shown = each.show(entry, id, context);
    return at === 0 ? <th key={each.name} scope="row">{shown}</th> : <td key={each.name} class={each.number ? "number" : ""}>{shown}</td>;
  })}
</tr>);

// What is not known comes last, whatever the direction.
export function sortedBy(rows, column, down) {
  if (!column) return rows;
  const keyed = rows.map((row) => [column.of(row[1], row[0]), row]), sign = down ? -1 : 1;
  const isKnown = (value) => value !== null && value !== undefined && value !== "";
  return keyed.sort(([a], [b]) => (isKnown(b) - isKnown(a)) || (isKnown(a) ? sign * compared(a, b) : 0)).map(([, row]) => row);
}

const words = new Intl.Collator("en", {numeric: true});
const compared = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : words.compare(String(a).slice(0, 200), String(b).slice(0, 200)));
