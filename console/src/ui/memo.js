import {Component, h} from "preact";

// A component that is drawn again only if one of its properties has changed.  (`memo` of preact/compat brings all of it.)
export function memo(draw) {
  return class Memo extends Component {
    shouldComponentUpdate(next) {
      const now = this.props, names = Object.keys(next);
      return names.length !== Object.keys(now).length || names.some((name) => next[name] !== now[name]);
    }
    render() {
      return h(draw, this.props);
    }
  };
}
